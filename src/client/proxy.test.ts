import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import type { BuriError } from '#core/errors.ts';
import { chooseProxy, parseProxyUrl } from './proxy.ts';

const server = { host: 'vpn.example.org', port: 8443 };

test('a proxy is read from its URL', () => {
  const cases: [string, string, string | undefined][] = [
    ['http://proxy:3128', 'http://proxy:3128', undefined],
    ['http://Proxy.Example.org:8080/', 'http://proxy.example.org:8080', undefined],
    ['proxy:8080', 'http://proxy:8080', undefined],
    ['proxy', 'http://proxy:3128', undefined],
    ['https://proxy:443', 'https://proxy:443', undefined],
    ['http://[2001:db8::1]:8080', 'http://[2001:db8::1]:8080', undefined],
    ['http://anna:geheim@10.0.0.1:8080', 'http://10.0.0.1:8080', 'anna:geheim'],
    ['http://anna@10.0.0.1:8080', 'http://10.0.0.1:8080', 'anna:'],
    ['http://a%40b:p%3A%40%25ä@h:1', 'http://h:1', 'a@b:p:@%ä'],
    ['http://a:p@ss:w/rd@h:1', 'http://h:1', 'a:p@ss:w/rd'],
  ];
  for (const [url, text, login] of cases) {
    const proxy = parseProxyUrl(url);
    assert.equal(proxy.text, text, url);
    const value = proxy.authorization()?.replace(/^Basic /, '');
    assert.equal(value && Buffer.from(value, 'base64').toString(), login, url);
  }
});

test('what is no proxy is refused without repeating a password', () => {
  const urls = [
    'socks5://u:geheim@h:1080',
    'ftp://h',
    'http://u:geheim@',
    'http://u:geheim@h:0',
    'http://u:geheim@h:65536',
    'http://u:geheim%0d%0aX@h:1',
    'http://u%3Aa:geheim@h:1',
    'http://u:geheim%zz@h:1',
    'http://u:geheim@[10.0.0.1]:1',
    'http://u:geheim@h:1/path',
    `http://u:geheim@${'h'.repeat(3000)}:1`,
  ];
  for (const url of urls) {
    assert.throws(
      () => parseProxyUrl(url),
      (error: BuriError) => error.code === 'bad-proxy-url' && !error.message.includes('geheim'),
      url,
    );
  }
});

test('whoever prints a proxy prints no password', () => {
  const choice = chooseProxy('http://anna:geheim@h:1', {});
  const proxy = choice.proxyFor(server);
  const secret = Buffer.from('anna:geheim').toString('base64');
  for (const text of [inspect(choice), inspect(proxy), JSON.stringify({ choice, proxy })]) {
    assert.ok(!text.includes('geheim') && !text.includes(secret), text);
  }
});

test('what was given goes before the environment, and none is none', () => {
  const environment = { https_proxy: 'http://env:1', no_proxy: '*' };
  assert.equal(chooseProxy('http://given:2', environment).proxyFor(server)?.host, 'given');
  assert.equal(chooseProxy('none', environment).text, undefined);
  assert.equal(chooseProxy(undefined, { HTTPS_PROXY: 'http://up:1' }).text, 'http://up:1');
  assert.equal(chooseProxy(undefined, {}).proxyFor(server), undefined);
  assert.equal(chooseProxy(undefined, { https_proxy: '', HTTPS_PROXY: '' }).text, undefined);
});

test('no_proxy leaves out names with all below them, addresses, networks and ports', () => {
  const cases: [string, string, number, boolean][] = [
    ['example.org', 'vpn.example.org', 443, false],
    ['.example.org', 'example.org', 443, false],
    ['*.example.org', 'vpn.example.org', 443, false],
    ['ample.org', 'example.org', 443, true],
    ['EXAMPLE.org', 'vpn.example.ORG', 443, false],
    ['example.org:443', 'example.org', 443, false],
    ['example.org:443', 'example.org', 8443, true],
    ['a.org, b.org', 'b.org', 1, false],
    ['10.1.2.3', '10.1.2.3', 1, false],
    ['10.1.2.3', '10.1.2.33', 1, true],
    ['10.0.0.0/8', '10.200.2.3', 1, false],
    ['10.0.0.0/8', '11.0.0.1', 1, true],
    ['10.0.0.0/33', '10.0.0.1', 1, true],
    ['2001:db8::/32', '2001:db8:1::1', 1, false],
    ['2001:db8::1', '2001:0db8::1', 1, false],
    ['[2001:db8::1]:443', '2001:db8::1', 443, false],
    ['[2001:db8::1]:443', '2001:db8::1', 80, true],
    ['*', 'anything', 1, false],
    [':::,,%, /', 'host', 1, true],
    ['', 'localhost', 1, false],
    ['', '127.0.0.1', 1, false],
  ];
  for (const [rules, host, port, isProxied] of cases) {
    const choice = chooseProxy(undefined, { https_proxy: 'http://p:1', no_proxy: rules });
    assert.equal(choice.proxyFor({ host, port }) !== undefined, isProxied, `${rules} ${host}`);
  }
});
