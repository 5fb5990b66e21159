/** The options of `npm run nightly`. A part takes those that concern it. */
import { parseArgs } from 'node:util';

export interface NightlyOptions {
  readonly hours: number | undefined;
  readonly gigabytes: number | undefined;
  readonly seed: number | undefined;
  readonly count: number | undefined;
}

export function nightlyOptions(): NightlyOptions {
  const option = { type: 'string' } as const;
  const { values } = parseArgs({
    options: { hours: option, gigabytes: option, seed: option, count: option },
  });
  const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  const { hours, gigabytes, seed, count } = values;
  return {
    ...{ hours: number(hours), gigabytes: number(gigabytes) },
    ...{ seed: number(seed), count: number(count) },
  };
}

/** A line with the time of day. */
export function say(text: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);
}
