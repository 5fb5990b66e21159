/**
 * What does the byte work cost? One thread, no system calls: sealing full super-packets (segment, checksum, AEAD) and opening
 * them again (AEAD, replay window, checksum, join), addon and TypeScript twin, both suites; and a plain AEAD of the
 * same size by node:crypto for scale.
 *
 *   node bench/engine.ts [--seconds 1] [--json FILE]
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import {
  SUITE_AES_256_GCM,
  SUITE_AES_256_GCM_EVP,
  SUITE_CHACHA20_POLY1305,
} from '#engine/addon.ts';
import { GSO_TCPV4, NEEDS_CSUM } from '#engine/twin/segment.ts';
import { TransportKey } from '#engine/twin/transport.ts';
import { NativeRig, type PlainItem, type Rig, TwinRig } from '../test/support/byte-rigs.ts';
import { tcpPacket, withPartialChecksum } from '../test/support/packets.ts';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '1' }, json: { type: 'string' } },
});

const SEGMENT_BYTES = 1_360;
const SEGMENTS = 45;
const A = new Uint8Array(32).fill(1);
const B = new Uint8Array(32).fill(2);
const packet = withPartialChecksum(
  tcpPacket({ family: 4, payload: new Uint8Array(SEGMENT_BYTES * SEGMENTS) }),
);
const item: PlainItem = {
  packet,
  flags: NEEDS_CSUM,
  gsoType: GSO_TCPV4,
  gsoSize: SEGMENT_BYTES,
  csumStart: 20,
  csumOffset: 16,
  key: 0,
  path: 0,
};

const rigs: readonly [string, Rig][] = [
  ['addon', new NativeRig()],
  ['twin', new TwinRig()],
];
const suites = [
  ['aes256gcm', SUITE_AES_256_GCM, 'aes256gcm'],
  ['aes256gcm', SUITE_AES_256_GCM_EVP, 'aes256gcm by OpenSSL'],
  ['chacha20poly1305', SUITE_CHACHA20_POLY1305, 'chacha20poly1305'],
] as const;

interface Result {
  readonly what: string;
  readonly microsecondsPerSuperPacket: number;
  readonly gbitPerSecond: number;
}
const results: Result[] = [];

/** CPU microseconds of this thread: unlike the clock it does not count what other programs use. */
function cpuMicroseconds(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}

/** Runs `work` for the time asked and notes its mean CPU time, without that of `prepare`. */
function time(what: string, prepare: () => void, work: () => void): void {
  let spent = 0;
  let runs = 0;
  for (let i = 0; i < 3; i++) {
    prepare();
    work();
  }
  while (spent < Number(values.seconds) * 1e6) {
    prepare();
    const before = cpuMicroseconds();
    work();
    spent += cpuMicroseconds() - before;
    runs++;
  }
  const microseconds = spent / runs;
  const gbitPerSecond = (packet.length * 8) / microseconds / 1_000;
  results.push({ what, microsecondsPerSuperPacket: microseconds, gbitPerSecond });
}

for (const [suiteName, suite, label] of suites) {
  for (const [name, rig] of rigs) {
    // The twin knows one way only.
    if (name === 'twin' && suite === SUITE_AES_256_GCM_EVP) continue;
    rig.work.setOffloads(0xff, 1_400);
    rig.work.setKey(0, suite, 0, A, B, 0, 0);
    rig.work.setPath(0, 0, Uint8Array.of(192, 0, 2, 1), 1, new Uint8Array(0), 0);
    const place = (): void => rig.place([item]);
    time(`${name} seals, ${label}`, place, () => rig.sealOnly(1));
    const sender = new TransportKey(nodeCrypto, suiteName, 0, B, A);
    const receive = (): void => {
      const datagrams = Array.from(
        { length: SEGMENTS },
        (_, i) =>
          sender.seal(
            tcpPacket({
              family: 4,
              payload: new Uint8Array(SEGMENT_BYTES),
              sequence: i * SEGMENT_BYTES,
            }),
          )!,
      );
      rig.receive([{ bytes: Buffer.concat(datagrams), segment: datagrams[0]!.length }]);
    };
    time(`${name} opens, ${label}`, receive, () => rig.openOnly(1, () => 0));
  }
  if (suite === SUITE_AES_256_GCM_EVP) continue;
  const plaintext = new Uint8Array(SEGMENT_BYTES + 40);
  const nonce = new Uint8Array(12);
  time(
    `node:crypto seals ${SEGMENTS} times ${plaintext.length} bytes, ${suiteName}`,
    () => {},
    () => {
      for (let i = 0; i < SEGMENTS; i++) nodeCrypto.seal(suiteName, A, nonce, plaintext, nonce);
    },
  );
}

for (const { what, microsecondsPerSuperPacket, gbitPerSecond } of results) {
  const microseconds = microsecondsPerSuperPacket.toFixed(1).padStart(9);
  console.log(
    `${what.padEnd(56)} ${microseconds} µs  ${gbitPerSecond.toFixed(2).padStart(6)} Gbit/s`,
  );
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
