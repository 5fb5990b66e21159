import assert from 'node:assert/strict';
import { test } from 'node:test';
import { natKinds } from '../../lab/nat-kinds.ts';
import { meaningOf } from './netcheck-meaning.ts';

const facts = {
  udp: 'works',
  ipv4: { udp: 'works', publicEndpoint: '198.51.100.1:1234', rttMs: 40 },
  ipv6: null,
  nat: {
    mapping: 'endpoint-independent',
    filtering: 'address-and-port-dependent',
    hairpin: false,
    portPreserved: true,
    allocation: { pattern: 'preserving' },
    mappingLifetimeMs: 26_000,
  },
  portMapping: [],
  httpProxy: null,
  relays: [],
} as const;
const about = (name: string, changed: object = {}, nat: object = {}) =>
  meaningOf({
    ...facts,
    ...changed,
    portMapping: [],
    relays: [],
    nat: { ...facts.nat, ...nat },
  }).find((meaning) => meaning.about === name)?.text;

test('every kind of NAT has a sentence for its mapping and its filtering', () => {
  for (const { mapping, filtering, name } of natKinds) {
    if (mapping === 'blocked') continue;
    const nat = { mapping, filtering };
    assert.match(about('mapping', {}, nat)!, /NAT|public address/, name);
    assert(about('filtering', {}, nat) !== undefined, name);
  }
});

test('blocked UDP is called so, and what is unknown has no meaning', () => {
  const nat = { mapping: 'unknown', filtering: 'unknown', hairpin: null, portPreserved: null };
  assert.match(about('udp', { udp: 'blocked' })!, /no UDP comes through/);
  assert.equal(about('mapping', { udp: 'blocked' }, nat), undefined);
  for (const name of ['filtering', 'hairpin', 'portPreserved'])
    assert.equal(about(name, {}, nat), undefined, name);
  assert.match(about('mappingLifetimeMs', {}, { mappingLifetimeMs: null })!, /ask again/);
  assert.match(about('mappingLifetimeMs', {}, { mappingLifetimeMs: 8_000 })!, /short/);
});
