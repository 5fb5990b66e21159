/** What goes through a tunnel over a bad line arrives as it was sent, once, or not at all. `npm run nightly` has it at full size. */
import { after, before, describe, test } from 'node:test';
import { Lab } from '../../lab/lab.ts';
import { nativeSkipReason } from '../../lab/native.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { assertAccounts, BadTunnel, engines } from '../support/flow-integrity.ts';

const datagramBytes = { first: 64e6, other: 16e6 };
const streamBytes = { first: 32e6, other: 8e6 };
const skip = labSkipReason() || nativeSkipReason();

for (const [index, [name, args]] of Object.entries(engines).entries()) {
  const size = index === 0 ? 'first' : 'other';
  describe(`a tunnel over a bad line, ${name}`, { skip }, () => {
    let lab: Lab;
    let tunnel: BadTunnel;

    before(async () => {
      lab = await Lab.create();
      tunnel = await BadTunnel.create(lab, 1, args);
    });
    after(async () => {
      await lab?.[Symbol.asyncDispose]();
    });

    test('delivers datagrams unchanged and once, and counts the others', async () => {
      const limits = { seconds: 120, mbitPerSecond: 400 };
      for (const way of await tunnel.datagrams(datagramBytes[size], limits)) assertAccounts(way);
    });

    test('delivers a stream unchanged in each direction', async () => {
      await tunnel.streams(streamBytes[size], 120_000);
    });
  });
}
