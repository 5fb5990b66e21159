/**
 * Plays inputs of the fuzz targets on the addon and on its twin and tells where they differ.
 *
 *   fuzz-check.ts TARGET DIRECTORY      ends with 1 when one of the inputs there gives different results
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NativeRig, TwinRig } from './byte-rigs.ts';
import { PACKET_TARGETS, type PacketTarget, play } from './fuzz-scripts.ts';
import { NativeRelayRig, playRelay, TwinRelayRig } from './relay-rigs.ts';

/** Targets that have a twin. */
export const TWIN_TARGETS = [...PACKET_TARGETS, 'relay'] as const;
export type TwinTarget = (typeof TWIN_TARGETS)[number];

export class FuzzCheck {
  readonly #native = new NativeRig();
  readonly #twin = new TwinRig();
  readonly #nativeRelay = new NativeRelayRig(this.#native.tables.counters);
  readonly #twinRelay = new TwinRelayRig();

  /** Throws when addon and twin differ. Returns how many packets, units or sends came out. */
  compare(target: TwinTarget, input: Uint8Array): number {
    return target === 'relay' ? this.#compareRelay(input) : this.#comparePackets(target, input);
  }

  #compareRelay(input: Uint8Array): number {
    const native = playRelay(this.#nativeRelay, input);
    assert.deepEqual(native, playRelay(this.#twinRelay, input));
    return native.reduce((sum, { sends }) => sum + sends.length, 0);
  }

  #comparePackets(target: PacketTarget, input: Uint8Array): number {
    const native = play(target, this.#native, input);
    assert.deepEqual(native, play(target, this.#twin, input));
    assert.deepEqual(this.#native.tables.counters, this.#twin.tables.counters);
    return native.reduce(
      (sum, batch) => sum + ('units' in batch ? batch.units : batch.runs).length,
      0,
    );
  }
}

if (import.meta.main) {
  const [name = '', directory = ''] = process.argv.slice(2);
  const target = TWIN_TARGETS.find((known) => known === name);
  if (target === undefined) throw new Error(`no target '${name}'`);
  const check = new FuzzCheck();
  let differing = 0;
  const files = readdirSync(directory).sort();
  for (const file of files) {
    try {
      check.compare(target, readFileSync(join(directory, file)));
    } catch (error) {
      differing++;
      if (differing <= 3) console.error(`${file}: ${String(error).slice(0, 3_000)}`);
    }
  }
  console.log(`${files.length} inputs of ${target}: addon and twin differ in ${differing}`);
  process.exitCode = differing > 0 ? 1 : 0;
}
