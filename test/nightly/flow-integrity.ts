/**
 * `npm run nightly -- flow-integrity [--gigabytes N] [--seed N]`: N gigabytes (10) of numbered, hashed datagrams each way at once
 * through a tunnel over a bad line, then a tenth of that as a TCP stream each way; and a tenth of both for each other engine. Other
 * than the test of that name only in size.
 */
import { Lab } from '../../lab/lab.ts';
import { nativeSkipReason } from '../../lab/native.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { assertAccounts, BadTunnel, engines } from '../support/flow-integrity.ts';
import { nightlyOptions, say } from './options.ts';

const { gigabytes = 10, seed = 1 } = nightlyOptions();
/** A flow begins anew after so much: the figures are seen while it goes on. */
const roundBytes = 1e9;
const mbitPerSecond = 400;
/** A machine that does less than 20 Mbit/s has another problem. */
const timeoutSeconds = 400;

const skip = labSkipReason() || nativeSkipReason();
if (skip !== false) {
  console.log(`skipped: ${skip}`);
  process.exit(0);
}
for (const [index, [name, args]] of Object.entries(engines).entries()) {
  say(name);
  await run(args, index === 0 ? gigabytes * 1e9 : gigabytes * 1e8);
}

async function run(args: readonly string[], bytes: number): Promise<void> {
  await using lab = await Lab.create();
  const tunnel = await BadTunnel.create(lab, seed, args);
  const limits = { seconds: timeoutSeconds, mbitPerSecond };
  for (let left = bytes; left > 0; left -= roundBytes) {
    const ways = await tunnel.datagrams(Math.min(left, roundBytes), limits);
    for (const [index, way] of ways.entries()) {
      say(`datagrams ${index === 0 ? 'a → b' : 'b → a'} ${JSON.stringify(way)}`);
      assertAccounts(way);
    }
  }
  const streamBytes = bytes / 10;
  const streams = await tunnel.streams(streamBytes, (streamBytes / roundBytes) * 400_000 + 60_000);
  for (const [index, seconds] of streams.entries()) {
    const mbit = ((streamBytes * 8) / seconds / 1e6).toFixed(0);
    say(`stream ${index === 0 ? 'a → b' : 'b → a'} ${streamBytes} bytes, ${mbit} Mbit/s`);
  }
}
