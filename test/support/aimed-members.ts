/**
 * Many members in one process, each with a control connection, a path machine and a UDP socket of its own, and one more that tells all of
 * them, in signals through the server, that it is at ever new ports of a victim's address.
 *
 *   aimed-members.ts URL VICTIM MEMBERS SECONDS      prints `told N` with the signals that arrived, when the time is over
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Signals } from '#core/member/signals.ts';
import type { PathInput } from '#core/path/io.ts';
import { Paths } from '#core/path/paths.ts';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { ServerMessage } from '#wire/control.ts';
import { ControlClient, DeviceKeys } from './control-client.ts';

/** As often as a liar may hope to be listened to. */
const tellEveryMs = 2000;
const liarPeer = 1;
const nat = { mapping: 'none', filtering: 'none' } as const;

const now = (): Now => ({ monotonic: monotonicMs(performance.now()), wall: wallMs(Date.now()) });

/** What of a member matters here: it believes a signal as far as the real machines do, and probes. */
class AimedMember {
  readonly control: ControlClient;
  told = 0;
  readonly #paths: Paths;
  readonly #signals: Signals;
  readonly #liar: { readonly clientId: string; readonly tunnelKey: Uint8Array };
  readonly #socket: Socket;
  #read = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(control: ControlClient, liar: ControlClient, socket: Socket) {
    this.control = control;
    this.#liar = { clientId: liar.clientId, tunnelKey: liar.keys.tunnel.publicKey };
    this.#socket = socket;
    const { tunnel } = control.keys;
    this.#signals = new Signals(crypto, tunnel, control.clientId);
    this.#paths = new Paths({ crypto, tunnelPrivateKey: tunnel.privateKey });
    const { port } = socket.address();
    this.#input({ type: 'local-sockets', sockets: [{ socket: 0, family: 4, localPort: port }] });
    this.#input({ type: 'local-candidates', candidates: [], nat });
    const { clientId, tunnelKey: tunnelPublicKey } = this.#liar;
    this.#input({ type: 'add-peer', peer: liarPeer, tunnelPublicKey, clientId });
  }

  static async start(control: ControlClient, liar: ControlClient): Promise<AimedMember> {
    const socket = createSocket('udp4');
    socket.bind(0);
    await once(socket, 'listening');
    return new AimedMember(control, liar, socket);
  }

  /** Takes what the server has sent since. */
  hear(): void {
    const { received } = this.control;
    for (; this.#read < received.length; this.#read++) this.#message(received[this.#read]!);
  }

  #message(message: ServerMessage): void {
    if (message.t === 'punch') {
      this.#input({ type: 'punch', peer: liarPeer, inMs: message.punchInMs });
    }
    if (message.t !== 'signal' || message.from !== this.#liar.clientId) return;
    const payload = this.#signals.open(this.#liar, message.sealed, Date.now());
    if (typeof payload === 'string') throw new Error(payload);
    this.told += 1;
    const { candidates } = payload;
    this.#input({ type: 'remote-candidates', peer: liarPeer, candidates, nat: payload.nat });
    const { punchInMs } = message;
    if (punchInMs !== undefined) {
      this.#input({ type: 'punch', peer: liarPeer, inMs: punchInMs });
    }
  }

  #input(input: PathInput): void {
    this.#paths.handle(input, now());
    for (let out = this.#paths.poll(); out !== undefined; out = this.#paths.poll()) {
      if (out.type === 'send') this.#socket.send(out.bytes, out.remote.port, out.remote.address);
    }
    clearTimeout(this.#timer);
    const due = this.#paths.deadline();
    if (due === undefined) return;
    const delayMs = Math.max(0, Math.ceil(due - performance.now()));
    this.#timer = setTimeout(() => this.#input({ type: 'tick' }), delayMs);
  }
}

const [url = '', victim = '', count = '', seconds = ''] = process.argv.slice(2);
const login = (name: string) => ControlClient.login({ url, keys: new DeviceKeys(name) });
const liar = await login('liar');
await liar.create('lies');
const members: AimedMember[] = [];
for (let i = 0; i < Number(count); i++) {
  const control = await login(`member ${i}`);
  const { ok } = await control.join('lies');
  if (!ok) throw new Error(`member ${i} does not get in`);
  members.push(await AimedMember.start(control, liar));
}
console.log('ready');
setInterval(() => {
  for (const member of members) member.hear();
}, 10);
const lies = new Signals(crypto, liar.keys.tunnel, liar.clientId);
let port = 1024;
const until = performance.now() + 1000 * Number(seconds);
while (performance.now() < until) {
  for (const { control } of members) {
    const candidates = Array.from({ length: 16 }, () => {
      port = port >= 65_535 ? 1024 : port + 1;
      return { kind: 'server-reflexive' as const, endpoint: `${victim}:${port}` };
    });
    const peer = { clientId: control.clientId, tunnelKey: control.keys.tunnel.publicKey };
    const sealed = lies.seal(peer, { kind: 'offer', candidates, nat }, Date.now());
    if (sealed !== undefined) liar.send({ t: 'signal', to: peer.clientId, sealed, punch: true });
  }
  await sleep(tellEveryMs);
}
console.log(`told ${members.reduce((sum, { told }) => sum + told, 0)}`);
process.exit(0);
