/** Datagrams out of what tcpdump has written. */
import { readFileSync } from 'node:fs';

export interface CapturedDatagram {
  /** `address:port`, IPv4 only. */
  readonly from: string;
  readonly to: string;
  readonly bytes: Buffer;
}

const fileHeaderBytes = 24;
const recordHeaderBytes = 16;
const ethernetBytes = 14;
const udpBytes = 8;
const udp = 17;

/** The UDP datagrams over IPv4 of a capture on an Ethernet interface, oldest first. */
export function readCapture(path: string): CapturedDatagram[] {
  const file = readFileSync(path);
  const found: CapturedDatagram[] = [];
  let at = fileHeaderBytes;
  while (at + recordHeaderBytes <= file.length) {
    const length = file.readUInt32LE(at + 8);
    const start = at + recordHeaderBytes;
    const frame = file.subarray(start, start + length);
    at = start + length;
    const datagram = datagramOf(frame);
    if (datagram !== undefined) found.push(datagram);
  }
  return found;
}

function datagramOf(frame: Buffer): CapturedDatagram | undefined {
  if (frame.length < ethernetBytes + 20 || frame.readUInt16BE(12) !== 0x0800) return undefined;
  const packet = frame.subarray(ethernetBytes);
  const headerBytes = (packet[0]! & 15) * 4;
  if (packet[9] !== udp || packet.length < headerBytes + udpBytes) return undefined;
  const ports = packet.subarray(headerBytes);
  const end = packet.readUInt16BE(2);
  const address = (offset: number) => packet.subarray(offset, offset + 4).join('.');
  return {
    from: `${address(12)}:${ports.readUInt16BE(0)}`,
    to: `${address(16)}:${ports.readUInt16BE(2)}`,
    bytes: Buffer.from(packet.subarray(headerBytes + udpBytes, end)),
  };
}
