/** The relay's part of the C addon against its TypeScript twin: the same batch has to give the same runs and sends. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { COUNTER_NAMES } from '#engine/counters.ts';
import * as layout from '#relay/udp/layout.ts';
import { seededRandom } from '../support/packets.ts';
import {
  NativeRelayRig,
  playRelay,
  type RelayStep,
  relayScript,
  TwinRelayRig,
} from '../support/relay-rigs.ts';

const SEED = 20_261_130;
const native = new NativeRelayRig(new Float64Array(COUNTER_NAMES.length));
const twin = new TwinRelayRig();
const bare = (length: number) => Uint8Array.of(4, 0, 0, 0, ...new Uint8Array(length).fill(length));

describe('addon and twin of a relay', () => {
  test('share the layout of the table', () => {
    assert.deepEqual({ ...layout }, { ...native.layout });
  });

  test('make one send of what several messages bring for one destination', () => {
    const [batch] = playRelay(
      native,
      relayScript([
        { op: 6, times: 9, destination: 1, content: bare(100) },
        { op: 6, times: 9, destination: 2, content: bare(100) },
        { op: 6, times: 9, destination: 1, content: bare(100) },
      ]),
    );
    assert.deepEqual(
      batch?.sends.map(({ path, segment, count }) => [path, segment, count]),
      [
        [1, 104, 20],
        [2, 104, 10],
      ],
    );
  });

  test('take the header off transport messages and put the sender before all else', () => {
    const handshake = Uint8Array.of(1, 0, 0, 0, ...new Uint8Array(144).fill(7));
    const [batch] = playRelay(
      native,
      relayScript([
        { op: 6 | 32, destination: 1, content: bare(40) },
        { op: 6 | 32, destination: 2, content: handshake },
      ]),
    );
    assert.equal(batch?.sends[0]?.bytes, Buffer.from(bare(40)).toString('hex'));
    assert.equal(
      batch?.sends[1]?.bytes,
      `425552020200000002000000${Buffer.from(handshake).toString('hex')}`,
    );
  });

  test('agree on random batches', () => {
    const random = seededRandom(SEED);
    let sends = 0;
    for (let round = 0; round < 300; round++) {
      const sizes = [1, 31, 32, 100, 148, 1_200];
      const steps = Array.from({ length: 1 + random.below(60) }, (): RelayStep => {
        const length = sizes[random.below(sizes.length)]!;
        const content = random.below(3) === 0 ? new Uint8Array(length).fill(length) : bare(length);
        const begins = random.below(3) > 0 ? 2 : 0;
        const isData = random.below(12) > 0 ? 4 : 0;
        return {
          op: begins | isData | (random.below(8) === 0 ? 8 : 0) | (random.below(2) << 4),
          times: random.below(4) === 0 ? random.below(100) : random.below(3),
          destination: random.below(5),
          content,
        };
      });
      const input = relayScript(steps);
      const expected = playRelay(twin, input);
      assert.deepEqual(playRelay(native, input), expected, `round ${round} of seed ${SEED}`);
      sends += expected.reduce((sum, batch) => sum + batch.sends.length, 0);
    }
    assert.ok(sends > 1_000, `only ${sends} sends`);
  });
});
