/**
 * Runs in a host's namespace: numbered datagrams to several peers, so many a second to each, and an account of those that arrive. One
 * JSON object a line; it ends when its standard input does.
 *
 *   in:   {"to":[A, …],"perSecond":N}   from now on these are sent to, numbered from 0 again
 *         {"pause":true}
 *         {"report":ID}
 *   out:  {"listening":PORT}
 *         {"report":ID,"sent":{A: COUNT, …},"received":{A: [COUNT, AGAIN, LONGEST GAP IN MS], …}}
 *
 * A datagram is its run, 4 bytes, and its number, 4 bytes. What is of an earlier run is not counted.
 */
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

const port = 7200;
const tickMs = 10;
/** An hour of 100 a second, and what a late process makes up for. */
const maximumNumber = 400_000;
const receiveBufferBytes = 8 * 1024 * 1024;

interface Arrivals {
  run: number;
  seen: Uint8Array;
  count: number;
  again: number;
  lastAt: number;
  longestGapMs: number;
}

const arrivals = new Map<string, Arrivals>();
let targets: readonly string[] = [];
let perSecond = 0;
let run = 0;
let number = 0;
let startedAt = 0;

const socket = createSocket('udp4');
socket.on('message', (data, { address }) => {
  if (data.length < 8) return;
  const [theirRun, theirNumber] = [data.readUInt32LE(0), data.readUInt32LE(4)];
  const now = performance.now();
  let of = arrivals.get(address);
  if (of === undefined || of.run !== theirRun) {
    of = {
      ...{ run: theirRun, seen: new Uint8Array(maximumNumber) },
      ...{ count: 0, again: 0, lastAt: now, longestGapMs: 0 },
    };
    arrivals.set(address, of);
  }
  of.longestGapMs = Math.max(of.longestGapMs, now - of.lastAt);
  of.lastAt = now;
  if (theirNumber >= maximumNumber || of.seen[theirNumber] === 1) of.again += 1;
  else {
    of.seen[theirNumber] = 1;
    of.count += 1;
  }
});
socket.bind(port, () => {
  socket.setRecvBufferSize(receiveBufferBytes);
  say({ listening: port });
});
setInterval(send, tickMs);

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if ('to' in command) {
    targets = command.to;
    perSecond = command.perSecond;
    run = Math.floor(Math.random() * 2 ** 32);
    number = 0;
    startedAt = performance.now();
  } else if ('pause' in command) perSecond = 0;
  else report(command.report);
}
process.exit(0);

/** Whatever is due by now: a process that was kept waiting makes up for it. */
function send(): void {
  if (perSecond === 0) return;
  const due = Math.floor(((performance.now() - startedAt) * perSecond) / 1000);
  for (; number < due && number < maximumNumber; number++) {
    const data = Buffer.alloc(64);
    data.writeUInt32LE(run, 0);
    data.writeUInt32LE(number, 4);
    // An unreachable destination counts as a lost datagram: the receiver decides.
    for (const target of targets) socket.send(data, port, target, () => {});
  }
}

function report(id: number): void {
  const sent = Object.fromEntries(targets.map((target) => [target, number]));
  const received = Object.fromEntries(
    [...arrivals].map(([from, { count, again, longestGapMs }]) => [
      from,
      [count, again, Math.round(longestGapMs)],
    ]),
  );
  say({ report: id, sent, received });
}

function say(message: object): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
