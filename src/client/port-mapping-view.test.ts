import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { MappingReport, PortMapSummary, UplinkReport } from '#core/portmap/io.ts';
import { portMappingView, portOpeners } from './port-mapping-view.ts';

const seen = { address: '203.0.113.7', port: 50_000 };
const uplink: UplinkReport = {
  family: 4,
  ...{ interface: 'eth0', gateway: '192.168.1.1', local: '192.168.1.10' },
  ...{ protocols: {}, mappings: [] },
};

const mapping = (change: Partial<MappingReport> = {}): MappingReport => ({
  protocol: 'nat-pmp',
  internal: { address: '192.168.1.10', port: 4242 },
  external: { address: '203.0.113.7', port: 4242 },
  ...{ lifetimeSeconds: 7200, renewInSeconds: 3600, usable: true },
  ...change,
});

function openers(...uplinks: UplinkReport[]) {
  const summary: PortMapSummary = { uplinks, faults: new Map() };
  return portOpeners(portMappingView({ summary, mapped: [] }, [seen]));
}

describe('what netcheck shows of port mapping', () => {
  test('nothing while it is off, while it is asked, and where nobody answers', () => {
    assert.deepEqual(portOpeners(portMappingView(undefined, [seen])), []);
    assert.deepEqual(openers(), []);
    const protocols = {
      pcp: { state: 'asking' },
      'nat-pmp': { state: 'idle' },
      upnp: { state: 'absent', reason: 'no answer' },
    } as const;
    assert.deepEqual(openers({ ...uplink, protocols }), []);
  });

  test('who gave the port, who refused, and who was not needed', () => {
    const protocols = {
      pcp: { state: 'refused', reason: 'not authorised' },
      'nat-pmp': { state: 'mapped' },
      upnp: { state: 'found' },
    } as const;
    assert.deepEqual(openers({ ...uplink, protocols, mappings: [mapping()] }), [
      { protocol: 'pcp', usable: false, reason: 'not authorised' },
      { protocol: 'nat-pmp', usable: true, externalEndpoint: '203.0.113.7:4242' },
      { protocol: 'upnp', usable: false },
    ]);
  });

  test('a mapping behind a further NAT is of no use, and why', () => {
    const external = { address: '100.64.1.1', port: 4242 };
    const mappings = [mapping({ external, usable: false })];
    const [opener] = openers({
      ...uplink,
      ...{ protocols: { 'nat-pmp': { state: 'mapped' } }, mappings },
    });
    assert.equal(opener?.usable, false);
    assert.equal(opener?.externalEndpoint, undefined);
    assert.match(opener?.reason ?? '', /further NAT/);
  });

  test('a firewall of IPv6 that opens the port is one more', () => {
    const external = { address: '2001:db8::10', port: 4242 };
    const six: UplinkReport = {
      ...uplink,
      family: 6,
      ...{ gateway: 'fe80::1', local: '2001:db8::10' },
      protocols: { pcp: { state: 'mapped' } },
      mappings: [mapping({ protocol: 'pcp', internal: external, external })],
    };
    assert.deepEqual(openers(uplink, six), [
      { protocol: 'pcp', usable: true, externalEndpoint: '[2001:db8::10]:4242' },
    ]);
  });
});
