import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MemberInput } from '#core/member/io.ts';
import type { Member } from '#core/member/member.ts';
import { monotonicMs, wallMs } from '#core/time.ts';
import { type DriverOptions, MemberDriver } from './member-driver.ts';

test('what is due is done though inputs come faster than timers have their turn', () => {
  const handled: string[] = [];
  const isDue = () => handled.at(-1) !== 'tick';
  const member = {
    handle: ({ type }: MemberInput) => handled.push(type),
    poll: () => undefined,
    deadline: () => (isDue() ? monotonicMs(1000) : undefined),
  } as unknown as Member;
  const now = { monotonic: monotonicMs(2000), wall: wallMs(0) };
  const driver = new MemberDriver(member, {
    engine: {},
    clock: { now: () => now },
  } as unknown as DriverOptions);
  driver.feed({ type: 'check-nat' });
  driver.feed({ type: 'check-nat' });
  assert.deepEqual(handled, ['check-nat', 'tick', 'check-nat', 'tick']);
});
