import assert from 'node:assert/strict';
import { test } from 'node:test';
import { icmpPacket, ipPacket, udpPacket } from '../../test/support/packets.ts';
import { packetTooBig } from './icmp.ts';
import { get16, get32, onesSum, pseudoHeaderSum } from './twin/checksum.ts';

const payload = new Uint8Array(1300).fill(7);

test('IPv4 is answered by fragmentation needed, from the destination, with the MTU and the start of the packet', () => {
  const packet = udpPacket({ family: 4, payload });
  const answer = packetTooBig(packet, 1240)!;
  assert.equal(answer.length, 576);
  assert.equal(onesSum(answer.subarray(0, 20)), 0xffff);
  assert.equal(onesSum(answer.subarray(20)), 0xffff);
  assert.deepEqual([...answer.subarray(12, 20)], [10, 9, 0, 2, 10, 9, 0, 1]);
  assert.deepEqual([answer[9], answer[20], answer[21], get16(answer, 26)], [1, 3, 4, 1240]);
  assert.deepEqual(answer.subarray(28), packet.subarray(0, 548));
});

test('IPv6 is answered by packet too big, never with less than its least MTU', () => {
  const packet = udpPacket({ family: 6, payload });
  for (const [mtu, told] of [
    [1340, 1340],
    [940, 1280],
  ] as const) {
    const answer = packetTooBig(packet, mtu)!;
    assert.equal(answer.length, 1280);
    const icmp = answer.subarray(40);
    assert.equal(onesSum(icmp, pseudoHeaderSum(answer, 58, icmp.length)), 0xffff);
    assert.deepEqual(
      [...answer.subarray(8, 40)],
      [...packet.subarray(24, 40), ...packet.subarray(8, 24)],
    );
    assert.deepEqual([answer[6], icmp[0], icmp[1], get32(icmp, 4)], [58, 2, 0, told]);
    assert.deepEqual(icmp.subarray(8), packet.subarray(0, 1232));
  }
});

test('a short packet is quoted whole', () => {
  const packet = udpPacket({ family: 4, payload: payload.subarray(0, 400) });
  assert.deepEqual(packetTooBig(packet, 320)!.subarray(28), packet);
});

test('what must not be answered is not: groups, later fragments, errors, half packets', () => {
  const error4 = icmpPacket({ family: 4, payload });
  error4[20] = 3;
  const error6 = icmpPacket({ family: 6, payload });
  error6[40] = 1;
  for (const packet of [
    udpPacket({ family: 4, payload, to: '224.0.0.251' }),
    udpPacket({ family: 4, payload, to: '255.255.255.255' }),
    udpPacket({ family: 6, payload, from: 'ff02::1' }),
    ipPacket({ family: 4, payload, fragmentBits: 0x4010 }, 17, payload),
    error4,
    error6,
    udpPacket({ family: 4, payload }).subarray(0, 100),
    new Uint8Array(0),
  ]) {
    assert.equal(packetTooBig(packet, 1240), undefined);
  }
  const echo = icmpPacket({ family: 4, payload });
  assert.ok(packetTooBig(echo, 1240) !== undefined, 'an echo request is no error');
});
