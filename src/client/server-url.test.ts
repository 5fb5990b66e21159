import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clusterKeyText, parseServerUrl } from './server-url.ts';

const key = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8';

test('a server URL gives address, WebSocket URL and key', () => {
  const url = parseServerUrl(`buri://VPN.Example.org:9443#${key}`);
  assert.equal(url.text, 'buri://vpn.example.org:9443');
  assert.equal(url.webSocketUrl, 'ws://vpn.example.org:9443/v1/control');
  assert.equal(clusterKeyText(url.clusterKey!), key);
});

test('port and key may be absent, the address may be IPv6, and TLS may be asked for', () => {
  assert.equal(parseServerUrl('buri://192.0.2.1').text, 'buri://192.0.2.1:8443');
  assert.equal(parseServerUrl('buri://192.0.2.1').clusterKey, undefined);
  assert.equal(
    parseServerUrl('buris://[2001:db8::1]:1').webSocketUrl,
    'wss://[2001:db8::1]:1/v1/control',
  );
});

test('what is no server URL is refused with a hint', () => {
  for (const text of [
    '',
    'vpn.example.org',
    'https://vpn.example.org',
    'buri://',
    'buri://host:0',
    'buri://host:65536',
    'buri://host:1/path',
    'buri://user@host:1',
    'buri://[nonsense]:1',
    'buri://ho st:1',
    `buri://host:1#${key}x`,
    'buri://host:1#short',
    'buri://host:1#',
    `buri://host:1#${key.slice(0, 42)}!`,
  ]) {
    assert.throws(() => parseServerUrl(text), { code: 'bad-server-url' }, text);
  }
});
