/** What goes through a tunnel over a bad line arrives as it was sent, once, or not at all. `npm run nightly` has it at full size. */
import { after, before, describe, test } from 'node:test';
import { Lab } from '../../lab/lab.ts';
import { nativeSkipReason } from '../../lab/native.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { assertAccounts, BadTunnel } from '../support/flow-integrity.ts';

const datagramBytes = 64e6;
const streamBytes = 32e6;

describe('a tunnel over a bad line', { skip: labSkipReason() || nativeSkipReason() }, () => {
  let lab: Lab;
  let tunnel: BadTunnel;

  before(async () => {
    lab = await Lab.create();
    tunnel = await BadTunnel.create(lab, 1);
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('delivers datagrams unchanged and once, and counts the others', async () => {
    const limits = { seconds: 120, mbitPerSecond: 400 };
    for (const way of await tunnel.datagrams(datagramBytes, limits)) assertAccounts(way);
  });

  test('delivers a stream unchanged in each direction', async () => {
    await tunnel.streams(streamBytes, 120_000);
  });
});
