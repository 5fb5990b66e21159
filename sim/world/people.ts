/** What the users of the members ask for: networks made, joined, left and run. */
import { unwrapSecret, wrapSecret } from '#client/admission.ts';
import type { NetworkView } from '#core/mesh/network-view.ts';
import { defaultArgon2Cost } from '#crypto/argon2.ts';
import type { Operation } from '#wire/control.ts';
import type { Random } from '../random.ts';
import type { World } from '../world.ts';
import type { Daemon } from './daemon.ts';
import type { Answer } from './link.ts';

type Done = (answer: Answer) => void;

const names = ['home', 'office', 'games', 'LAN party', 'grün', 'lab'];
const noSalt = new Uint8Array(0);
const text = (value: string) => new TextEncoder().encode(value);

export class People {
  readonly #world: World;
  readonly #random: Random;
  /** Passwords that a network of this name has had: an answer that was lost leaves it open which one holds. */
  readonly #passwords = new Map<string, string[]>();
  /** Answers by operation and code. */
  readonly answers = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
    this.#random = world.random.fork('people');
  }

  /** Somebody does something. What it was, or undefined when nobody could. */
  act(): string | undefined {
    const random = this.#random;
    const owned = random.chance(0.4) ? this.#owned() : [];
    if (owned.length > 0) {
      const { daemon, network } = random.pick(owned);
      return this.#run(daemon, network, 0.4 + 0.6 * random.float());
    }
    const daemon = random.pick(this.#world.daemons);
    const networks = [...(daemon.member?.networks.values() ?? [])];
    if (daemon.link?.isConnected !== true) return undefined;
    const roll = random.float();
    if (networks.length < 2 || roll < 0.3) return this.#enter(daemon);
    return this.#run(daemon, random.pick(networks), roll);
  }

  /** Makes a network of the first name, which everybody joins. */
  gather(): void {
    const [owner] = this.#world.daemons;
    this.#create(owner!, names[0]!);
  }

  joinFirst(daemon: Daemon): void {
    this.#join(daemon, names[0]!, this.#passwordsOf(names[0]!).at(-1)!);
  }

  /** Who lost the answer to a join, and so the secret, types the password again. */
  repair(): void {
    for (const daemon of this.#world.daemons) {
      for (const network of daemon.member?.networks.values() ?? []) {
        if (network.state !== 'member' || daemon.member!.secrets.has(network.id)) continue;
        const password = this.#random.pick(this.#passwordsOf(network.facts.name));
        this.#join(daemon, network.facts.name, password);
      }
    }
  }

  /** Networks whose owner is connected. */
  #owned(): { daemon: Daemon; network: NetworkView }[] {
    return this.#world.daemons.flatMap((daemon) => {
      if (daemon.link?.isConnected !== true) return [];
      const networks = [...(daemon.member?.networks.values() ?? [])];
      return networks
        .filter(({ facts }) => facts.owner === daemon.clientId)
        .map((network) => ({ daemon, network }));
    });
  }

  #enter(daemon: Daemon): string {
    const name = this.#random.pick(names);
    const known = this.#passwordsOf(name);
    if (known.length === 0 || this.#random.chance(0.1)) return this.#create(daemon, name);
    const isWrong = this.#random.chance(0.1);
    return this.#join(daemon, name, isWrong ? 'a guess' : known.at(-1)!);
  }

  #run(daemon: Daemon, network: NetworkView, roll: number): string {
    const { id, facts } = network;
    const random = this.#random;
    const isOwner = facts.owner === daemon.clientId;
    const others = [...network.members.keys()].filter((member) => member !== daemon.clientId);
    const other = others.length === 0 ? undefined : random.pick(others);
    const waiting = network.pending[0]?.clientId;
    if (isOwner && waiting !== undefined && roll < 0.7) {
      const op = random.chance(0.7) ? 'approve' : 'reject';
      return this.#ask(daemon, { op, network: id, clientId: waiting });
    }
    if (roll < 0.4) return this.#ask(daemon, { op: 'leave', network: id });
    if (roll < 0.55) return this.#ask(daemon, { op: 'go-offline', network: id });
    if (roll < 0.75) return this.#ask(daemon, { op: 'go-online', network: id });
    if (roll < 0.79) return this.#ask(daemon, { op: 'set-nick', nick: `nick ${random.below(99)}` });
    if (!isOwner || other === undefined) {
      return this.#ask(daemon, { op: 'go-online', network: id });
    }
    if (roll < 0.88) return this.#ask(daemon, { op: 'evict', network: id, clientId: other });
    if (roll < 0.91) return this.#ask(daemon, { op: 'transfer', network: id, clientId: other });
    if (roll < 0.94) {
      const approval = random.pick(['auto', 'auto', 'manual'] as const);
      return this.#ask(daemon, {
        op: 'set-access',
        network: id,
        locked: random.chance(0.2),
        approval,
      });
    }
    if (roll < 0.97) return this.#setPassword(daemon, network);
    // The network of everybody stays, so that there is talk to the end.
    if (facts.name === names[0]) return this.#ask(daemon, { op: 'go-online', network: id });
    return this.#ask(daemon, { op: 'delete', network: id });
  }

  #create(daemon: Daemon, name: string): string {
    const secret = daemon.crypto.random(32);
    this.#world.secrets.push(secret);
    const password = `password ${this.#random.below(1000)}`;
    // Known from now on: the answer may get lost after the deed.
    this.#passwords.set(name, [...this.#passwordsOf(name), password]);
    const admission = this.#admission(daemon, password, secret);
    return this.#ask(daemon, { op: 'create', name, type: 'mesh', admission }, (answer) => {
      if (answer?.ok === true) daemon.keepSecret(answer.network!, secret);
      // A refusal is certain: then this is the password of nothing.
      if (answer?.ok === false) this.#forgetPassword(name, password);
    });
  }

  #join(daemon: Daemon, name: string, password: string): string {
    return this.#ask(daemon, { op: 'admission', name }, (answer) => {
      if (answer?.ok !== true || answer.admission === undefined) return;
      const keys = this.#keys(daemon, password, answer.admission.salt);
      const keep = ({
        network,
        wrappedSecret,
      }: {
        network?: string | undefined;
        wrappedSecret?: Uint8Array | undefined;
      }) => {
        if (network === undefined || wrappedSecret === undefined) return;
        try {
          daemon.keepSecret(network, unwrapSecret(daemon.crypto, keys.wrappingKey, wrappedSecret));
        } catch {
          this.#count('join wrong password');
        }
      };
      if (answer.wrappedSecret !== undefined) keep(answer);
      else {
        this.#ask(daemon, { op: 'join', name, verifier: keys.verifier }, (joined) => {
          if (joined?.ok === true) keep(joined);
        });
      }
    });
  }

  #setPassword(daemon: Daemon, network: NetworkView): string {
    const { name } = network.facts;
    const secret = daemon.member?.secrets.get(network.id);
    if (secret === undefined) return `${daemon.name} has no secret of ${name}`;
    const password = `password ${this.#random.below(1000)}`;
    this.#passwords.set(name, [...this.#passwordsOf(name), password]);
    const admission = this.#admission(daemon, password, secret);
    return this.#ask(daemon, { op: 'set-pass', network: network.id, admission });
  }

  #ask(daemon: Daemon, operation: Operation, done: Done = () => {}): string {
    const what = describe(operation);
    daemon.link?.request(operation, (answer) => {
      const code = answer === undefined ? 'no answer' : answer.ok ? 'ok' : answer.error.code;
      this.#count(`${operation.op} ${code}`);
      this.#world.trace.note(`${daemon.name} ${what}: ${code}`);
      done(answer);
    });
    return `${daemon.name} ${what}`;
  }

  #admission(daemon: Daemon, password: string, secret: Uint8Array) {
    const { crypto } = daemon;
    const salt = crypto.random(16);
    const { verifier, wrappingKey } = this.#keys(daemon, password, salt);
    const wrappedSecret = wrapSecret(crypto, wrappingKey, secret);
    return { salt, argon2: { ...defaultArgon2Cost }, verifier, wrappedSecret, hasPassword: true };
  }

  /** As `admissionKeys`, with a hash in place of Argon2id, which takes a quarter of a second. */
  #keys({ crypto }: Daemon, password: string, salt: Uint8Array) {
    const key = crypto.sha256(text(password), salt);
    const derive = (info: string) => crypto.hkdfSha256(key, noSalt, text(info), 32);
    return { verifier: derive('buri verifier 1'), wrappingKey: derive('buri wrap 1') };
  }

  #passwordsOf(name: string): readonly string[] {
    return this.#passwords.get(name) ?? [];
  }

  #forgetPassword(name: string, password: string): void {
    const known = this.#passwordsOf(name);
    this.#passwords.set(
      name,
      known.filter((other) => other !== password),
    );
  }

  #count(what: string): void {
    this.answers.set(what, (this.answers.get(what) ?? 0) + 1);
  }
}

function describe(operation: Operation): string {
  const { op, ...rest } = operation;
  const values = Object.values(rest).filter((value) => typeof value !== 'object');
  return [op, ...values].join(' ');
}
