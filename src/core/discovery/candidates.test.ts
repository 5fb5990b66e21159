import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePrefix, virtualPrefixes } from '../path/address-class.ts';
import { gatherCandidates, hostAddresses, type LocalAddress } from './candidates.ts';

const virtual = virtualPrefixes.map((text) => parsePrefix(text)!);
const ports = new Map([[4, 5000] as const, [6, 6000] as const]);
const on = (name: string, ...addresses: string[]): LocalAddress[] =>
  addresses.map((address) => ({ interface: name, address }));
const gather = (addresses: LocalAddress[], more = {}) =>
  gatherCandidates({
    ...{ addresses, ports, reflexive: [], mapped: [], configuredPort: undefined, virtual },
    ...more,
  }).map(({ kind, endpoint }) => `${kind} ${endpoint}`);

test('host candidates are the addresses that a peer might reach', () => {
  const addresses = [
    ...on('lo', '127.0.0.1', '::1'),
    ...on('eth0', '192.168.1.2', 'fe80::1', '2001:db8::2', 'fd00::2', '169.254.3.4'),
    ...on('wlan0', '10.0.0.2', '198.18.0.7'),
    ...on('buri0', '100.64.0.5', 'fd62:7572:6900::6440:5'),
    ...on('docker0', '172.17.0.1'),
    ...on('br-0123456789ab', '172.18.0.1'),
    ...on('virbr0', '192.168.122.1'),
    ...on('broken', 'nonsense', '224.0.0.1', '255.255.255.255', '0.0.0.0', 'ff02::1', '::'),
    ...on('veth-home', '172.20.0.2'),
  ];
  assert.deepEqual(hostAddresses(addresses, virtual), [
    ...['192.168.1.2', '2001:db8::2', 'fd00::2', '10.0.0.2', '198.18.0.7', '172.20.0.2'],
  ]);
});

test('the carrier-grade range is a host address where it is not the virtual LAN', () => {
  const addresses = on('wwan0', '100.80.1.2');
  assert.deepEqual(hostAddresses(addresses, virtual), []);
  assert.deepEqual(hostAddresses(addresses, [parsePrefix('10.44.0.0/16')!]), ['100.80.1.2']);
});

test('candidates come IPv6 first, local first, each endpoint once', () => {
  const reflexive = [
    { address: '198.51.100.1', port: 5000 },
    { address: '2001:db8::2', port: 6000 },
  ];
  const addresses = on('eth0', '192.168.1.2', '2001:db8::2');
  assert.deepEqual(gather(addresses, { reflexive, configuredPort: 7777 }), [
    'host [2001:db8::2]:6000',
    'host 192.168.1.2:5000',
    'configured 198.51.100.1:7777',
    'server-reflexive 198.51.100.1:5000',
  ]);
});

test('a forwarded port that is also the mapped one is named once, as configured', () => {
  const reflexive = [{ address: '198.51.100.1', port: 5000 }];
  assert.deepEqual(gather([], { reflexive, configuredPort: 5000 }), [
    'configured 198.51.100.1:5000',
  ]);
  assert.deepEqual(gather([], { configuredPort: 5000 }), [], 'without a public address none');
});

test('however many addresses there are, 16 are told, and those that servers saw are among them', () => {
  const addresses = Array.from({ length: 64 }, (_, i) => [
    ...on('eth0', `10.0.${i}.2`, `2001:db8:${(i + 1).toString(16)}::2`),
  ]).flat();
  const reflexive = Array.from({ length: 9 }, (_, i) => ({ address: `198.51.100.${i}`, port: 1 }));
  const all = gather(addresses, { reflexive, configuredPort: 9 });
  assert(all.length <= 16);
  assert(all.includes('configured 198.51.100.0:9'));
  assert(all.includes('server-reflexive 198.51.100.0:1'));
  assert.equal(all.filter((text) => text.startsWith('server-reflexive')).length, 4);
  assert.equal(all.filter((text) => text.startsWith('host [')).length, 4);
});

test('a mapped port is offered, unless servers see us at another address', () => {
  const mapped = [
    { address: '198.51.100.1', port: 6001 },
    { address: '203.0.113.66', port: 6001 },
    { address: '2001:db8::2', port: 6000 },
  ];
  const reflexive = [{ address: '198.51.100.1', port: 5000 }];
  assert.deepEqual(gather([], { mapped, reflexive }), [
    'mapped [2001:db8::2]:6000',
    'mapped 198.51.100.1:6001',
    'server-reflexive 198.51.100.1:5000',
  ]);
  assert.equal(gather([], { mapped }).length, 3, 'nobody knows better yet');
});

test('a port forwarded by hand is offered on the address that the gateway knows when no server answers', () => {
  const mapped = [{ address: '198.51.100.1', port: 6001 }];
  assert.deepEqual(gather([], { mapped, configuredPort: 7777 }), [
    'configured 198.51.100.1:7777',
    'mapped 198.51.100.1:6001',
  ]);
});
