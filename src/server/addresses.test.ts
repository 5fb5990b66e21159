import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prefixesOf } from '#core/prefixes.ts';
import { isUnspecified, parseListenAddress } from './listen-address.ts';
import { publicHost, resolvePublic } from './public-address.ts';

test('addresses to listen on', () => {
  const table: [string, string | undefined, number][] = [
    ['0.0.0.0:8443', '0.0.0.0', 8443],
    ['[::]:443', '::', 443],
    ['*:8443', undefined, 8443],
    [':0', undefined, 0],
    ['vpn.example.org:1', 'vpn.example.org', 1],
  ];
  for (const [text, host, port] of table)
    assert.deepEqual(parseListenAddress(text, '--listen'), { host, port, text });
  for (const text of [
    '',
    '8443',
    '1.2.3.4',
    '::1:8443',
    '[::1]',
    'a b:1',
    'host:65536',
    '[1.2.3.4]:1',
  ])
    assert.throws(() => parseListenAddress(text, '--listen'), { code: 'address-invalid' }, text);
  assert.equal(isUnspecified('::'), true);
  assert.equal(isUnspecified('0.0.0.0'), true);
  assert.equal(isUnspecified('::1'), false);
});

test('limits count one IPv4 address, or an IPv6 /64, and their neighbourhoods', () => {
  assert.deepEqual(prefixesOf('::ffff:203.0.113.9'), {
    narrow: '203.0.113.9',
    wide: '203.0.113.0/24',
  });
  const a = prefixesOf('2001:db8:1:2:3:4:5:6');
  assert.deepEqual(a, { narrow: '2001:db8:1:2::/64', wide: '2001:db8:1::/48' });
  assert.deepEqual(prefixesOf('2001:db8:1:2::99%eth0'), a);
});

test('the public host is what was given, or what is listened on, else a guess', async () => {
  assert.deepEqual(publicHost('VPN.example.org', []), { host: 'vpn.example.org', guessed: false });
  assert.deepEqual(publicHost('2001:db8::1', []), { host: '[2001:db8::1]', guessed: false });
  assert.deepEqual(publicHost(undefined, ['192.0.2.1']), { host: '192.0.2.1', guessed: false });
  assert.equal(publicHost(undefined, [undefined]).guessed, true);
  for (const text of ['host:8443', '', 'a b', '1.2.3', '-x'])
    assert.throws(() => publicHost(text, []), { code: 'public-invalid' }, text);
  assert.deepEqual(await resolvePublic({ host: '[2001:DB8::1]', guessed: false }), ['2001:db8::1']);
});
