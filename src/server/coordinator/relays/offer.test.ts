import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkTarget, resolveOffer } from './offer.ts';

const source = '203.0.113.5';

test('an unspecified address becomes the one that the relay connects from, in its own family', () => {
  const offer = {
    udp: ['0.0.0.0:3480', '[::]:3480'],
    ws: ['ws://0.0.0.0:8444/v1/relay', 'wss://relay.example.org/v1/relay', 'ws://[::]:1/x'],
  };
  assert.deepEqual(resolveOffer(offer, source, false), {
    udp: ['203.0.113.5:3480'],
    ws: ['ws://203.0.113.5:8444/v1/relay', 'wss://relay.example.org/v1/relay'],
    refused: ['[::]:3480'],
  });
  assert.deepEqual(resolveOffer(offer, '2001:db8::5', false), {
    udp: ['[2001:db8::5]:3480'],
    ws: ['wss://relay.example.org/v1/relay', 'ws://[2001:db8::5]:1/x'],
    refused: ['0.0.0.0:3480'],
  });
});

test('a relay beside the server keeps the unspecified address, which clients fill in', () => {
  const offer = { udp: ['0.0.0.0:3480', '[::]:3480'], ws: ['ws://0.0.0.0:8443/v1/relay'] };
  for (const from of ['127.0.0.1', '::1', undefined])
    assert.deepEqual(resolveOffer(offer, from, false), { ...offer, refused: [] });
});

test("an operator's relay names what it wants, a member's only where it is", () => {
  const offer = {
    udp: ['198.51.100.1:3480', '203.0.113.5:3480', '203.0.113.5:3480', '10.0.0.1:53'],
    ws: ['ws://198.51.100.1/v1/relay', 'ws://victim.example.org/', 'ws://203.0.113.5:80/v1/relay'],
  };
  assert.deepEqual(resolveOffer(offer, source, false).refused, []);
  assert.equal(resolveOffer(offer, source, false).udp.length, 3);
  assert.deepEqual(resolveOffer(offer, source, true), {
    udp: ['203.0.113.5:3480'],
    ws: ['ws://203.0.113.5/v1/relay'],
    refused: ['198.51.100.1:3480', '10.0.0.1:53'],
  });
  assert.deepEqual(resolveOffer({ udp: ['[::1]:1'], ws: [] }, undefined, true).udp, []);
});

test('what the server asks is what clients would be told, or where the relay connects from', () => {
  assert.equal(checkTarget('203.0.113.5:3480', '127.0.0.1'), '203.0.113.5:3480');
  assert.equal(checkTarget('0.0.0.0:3480', '127.0.0.1'), '127.0.0.1:3480');
  assert.equal(checkTarget('0.0.0.0:3480', undefined), '127.0.0.1:3480');
  assert.equal(checkTarget('[::]:3480', '127.0.0.1'), undefined);
  assert.equal(checkTarget('nonsense', '127.0.0.1'), undefined);
});
