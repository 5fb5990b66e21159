import type { DoctorView } from '#wire/local-api.ts';
import type { StatusSource } from '../status.ts';
import { gatherFacts } from './gather.ts';
import { judge } from './judge.ts';

/** `buri doctor`: what is wrong, on which side, what to do. */
export async function examine(source: StatusSource): Promise<DoctorView> {
  const checks = judge(await gatherFacts(source));
  return { healthy: checks.every(({ status }) => status !== 'problem'), checks };
}
