import assert from 'node:assert/strict';
import type { NetworkInterfaceInfo } from 'node:os';
import { test } from 'node:test';
import { uplinksFrom } from './gateways.ts';

const header =
  'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
const route4 = (name: string, gateway: string, metric: number, more = {}) => {
  const { to = '00000000', mask = '00000000', flags = '0003' } = more as Record<string, string>;
  return `${name}\t${to}\t${gateway}\t${flags}\t0\t0\t${metric}\t${mask}\t0\t0\t0\n`;
};
const zero = '0'.repeat(32);
const route6 = (name: string, gateway: string, metric: string, flags = '00000003') =>
  `${zero} 00 ${zero} 00 ${gateway} ${metric} 00000001 00000000 ${flags} ${name.padStart(8)}\n`;
const own = (address: string, netmask = '255.255.255.0') =>
  ({
    ...{ address, netmask, family: address.includes(':') ? 'IPv6' : 'IPv4' },
    ...{ mac: '', internal: false, cidr: null },
  }) as NetworkInterfaceInfo;
const interfaces = {
  eth0: [own('10.9.9.9'), own('192.168.1.10'), own('2001:db8::10'), own('fe80::5'), own('fd00::1')],
  wlan0: [own('192.168.2.20')],
  buri0: [own('100.64.0.1')],
};
const from = (text4: string, text6 = '') => uplinksFrom(header + text4, text6, interfaces, 'buri0');

test('the default route with the lowest metric leads out, from the address next to the gateway', () => {
  const routes = route4('wlan0', '0102A8C0', 600) + route4('eth0', '0101A8C0', 100);
  assert.deepEqual(from(routes), [
    { family: 4, interface: 'eth0', gateway: '192.168.1.1', local: '192.168.1.10' },
  ]);
});

test('our own interface, other routes and routes without a gateway lead nowhere', () => {
  const routes = [
    route4('buri0', '01004064', 1),
    route4('eth0', '0101A8C0', 0, { to: '0000A8C0', mask: '0000FFFF' }),
    route4('eth0', '00000000', 0, { flags: '0001' }),
    route4('eth0', 'nonsense', 0),
    'nonsense\n\n',
  ];
  assert.deepEqual(from(routes.join('')), []);
});

test('a gateway or an own address that is public needs no port of anybody', () => {
  assert.deepEqual(from(route4('eth0', '010371CB', 0)), []);
  const routes = header + route4('eth0', '0101A8C0', 0);
  assert.deepEqual(uplinksFrom(routes, '', { eth0: [own('203.0.113.5')] }, 'buri0'), []);
  assert.deepEqual(uplinksFrom(routes, '', {}, 'buri0'), []);
});

test('an IPv6 router is asked for each global address of its interface', () => {
  const gateway = 'fe800000000000000000000000000001';
  const found = from(
    '',
    route6('eth0', gateway, '00000400') + route6('lo', zero, 'ffffffff', '00200200'),
  );
  assert.deepEqual(found, [
    { family: 6, interface: 'eth0', gateway: 'fe80::1', local: '2001:db8::10' },
  ]);
});
