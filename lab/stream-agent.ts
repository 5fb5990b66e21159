/**
 * Runs in a host's namespace: 100 numbered datagrams a second through the tunnel to one peer, and a
 * note of each that arrives. One JSON object a line; it ends when its standard input does.
 *
 *   in:   {"stream":LABEL,"address":A}    from now on datagrams carry this label
 *         {"pause":true}
 *         {"ask":ID,"label":L,"after":NS} about datagrams with that label, sent after that moment
 *   out:  {"listening":PORT}
 *         {"answer":ID,"first":NS,"steady":NS,"count":N}   of arrivals; absent while there is none;
 *                 `steady`: of the first one since the last gap of more than 200 ms, if it goes on
 *
 * Moments are of the monotonic clock, which the processes of a machine share.
 */
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

const port = 7100;
const everyMs = 10;
const gapNs = 200_000_000;
/** Five minutes' worth. */
const maximumKept = 30_000;

interface Arrival {
  readonly label: string;
  readonly sentAt: number;
  readonly at: number;
}

const arrivals: Arrival[] = [];
let target: { readonly label: string; readonly address: string } | undefined;
let number = 0;

const socket = createSocket('udp4');
socket.on('message', (data) => {
  const [label = '', , sentAt = '0'] = data.toString().split(' ');
  arrivals.push({ label, sentAt: Number(sentAt), at: nowNs() });
  if (arrivals.length > maximumKept) arrivals.splice(0, maximumKept / 2);
});
socket.on('error', (error) => say({ error: error.message }));
socket.bind(port, () => say({ listening: port }));

setInterval(() => {
  if (target === undefined) return;
  const text = `${target.label} ${number++} ${nowNs()}`;
  socket.send(text, port, target.address, () => {});
}, everyMs);

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if ('stream' in command) target = { label: command.stream, address: command.address };
  else if ('pause' in command) target = undefined;
  else if ('ask' in command) answer(command.ask, command.label, command.after);
}
process.exit(0);

function answer(id: number, label: string, after: number): void {
  const seen = arrivals.filter((arrival) => arrival.label === label && arrival.sentAt >= after);
  let steady = seen[0]?.at;
  for (const [i, { at }] of seen.entries()) {
    if (i > 0 && at - (seen[i - 1] as Arrival).at > gapNs) steady = at;
  }
  // What has stopped again is not steady.
  if (nowNs() - (seen.at(-1)?.at ?? 0) > gapNs) steady = undefined;
  say({ answer: id, first: seen[0]?.at, steady, count: seen.length });
}

function nowNs(): number {
  return Number(process.hrtime.bigint());
}

function say(message: object): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
