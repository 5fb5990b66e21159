/** What goes wrong in a scenario, one thing at a time, and how long it may take until traffic flows again. */
import { type NatKind, natKind, natKinds } from '../../lab/nat-kinds.ts';
import type { PathClient, PathWorld } from '../path-world.ts';
import type { Random } from '../random.ts';
import type { RelayHost } from '../relay-host.ts';

export interface Fault {
  readonly name: string;
  readonly text: string;
  /** How long it lasts; nothing to be put right afterwards when absent. */
  readonly lastsMs?: number;
  readonly heal?: () => void;
  /** Traffic has to find another way while it lasts. */
  readonly isAvoidable: boolean;
  /** Nobody loses a packet by it. */
  readonly isLossless: boolean;
}

type Make = (world: PathWorld, random: Random, step: number) => Fault;

const serverSide = '203.0.113.';
/** Nothing passes between two clients but by relays. */
const isDirect = (source: string, destination: string) =>
  !source.startsWith(serverSide) && !destination.startsWith(serverSide);
const kinds = natKinds.map(({ name }) => name);
const once = { isAvoidable: true, isLossless: false } as const;
const span = { isAvoidable: false, isLossless: false } as const;

const faults: Readonly<Record<string, Make>> = {
  'NAT reboot': (world, random) => {
    const client = random.pick(world.clients);
    client.home?.reboot();
    return { name: 'NAT reboot', text: `the NAT of ${client.index} reboots`, ...once };
  },
  roam: (world, random, step) => {
    const client = random.pick(world.clients);
    const kind = random.pick(kinds);
    moveTo(world, client, kind, step);
    return { name: 'roam', text: `${client.index} moves behind ${kind}`, ...once };
  },
  sleep: (world, random) => {
    const client = random.pick(world.clients);
    client.sleep();
    const lastsMs = random.between(5, 400) * 1000;
    const text = `${client.index} sleeps for ${lastsMs} ms`;
    return { name: 'sleep', text, lastsMs, heal: () => client.wake(), ...span };
  },
  'direct paths vanish': (world, random) => {
    world.network.drop = ({ source, destination }, realm) =>
      realm === world.network.internet && isDirect(source.address, destination.address);
    const lastsMs = random.between(3, 40) * 1000;
    const text = `direct paths are black holes for ${lastsMs} ms`;
    return { name: 'direct paths vanish', text, lastsMs, heal: () => noDrop(world), ...once };
  },
  'relay killed': (world, random) => {
    const relay = random.pick([...world.relays.values()]);
    relay.kill();
    return relayBack('relay killed', relay, random.between(5, 60) * 1000, once);
  },
  'relay restarts': (world, random) => {
    const relay = random.pick([...world.relays.values()]);
    relay.restart();
    return { name: 'relay restarts', text: `relay ${relay.id} restarts`, ...once };
  },
  'relay drains': (world, random) => {
    const relay = random.pick([...world.relays.values()]);
    relay.drain();
    const lossless = { isAvoidable: true, isLossless: true };
    return relayBack('relay drains', relay, random.between(15, 60) * 1000, lossless);
  },
  'server killed': (world, random) => {
    setServer(world, false);
    const lastsMs = random.between(2, 90) * 1000;
    const text = `no server for ${lastsMs} ms`;
    const heal = () => setServer(world, true);
    return { name: 'server killed', text, lastsMs, heal, isAvoidable: true, isLossless: true };
  },
  loss: (world, random) => {
    const { internet } = world.network;
    const { loss, jitterMs } = internet.link;
    const bad = { loss: 0.1 + random.float() * 0.3, jitterMs: random.between(0, 60) };
    internet.link = { ...internet.link, ...bad };
    const heal = () => {
      internet.link = { ...internet.link, loss, jitterMs };
    };
    const lastsMs = random.between(5, 20) * 1000;
    const text = `${(bad.loss * 100).toFixed(0)} % loss for ${lastsMs} ms`;
    return { name: 'loss', text, lastsMs, heal, ...span };
  },
  'clock jump': (world, random) => {
    const client = random.pick(world.clients);
    const errorMs = random.between(-7200, 7200) * 1000;
    client.setClock(errorMs);
    const text = `the clock of ${client.index} is wrong by ${errorMs} ms`;
    return { name: 'clock jump', text, isAvoidable: true, isLossless: true };
  },
  'relay unreachable': (world, random) => {
    const client = random.pick(world.clients);
    const [relay] = random.pick([...world.relays.values()]).host.addresses;
    // Inside its own network: no other client is behind the same address.
    world.network.drop = ({ source, destination }, realm) =>
      realm === client.home?.realm && [source.address, destination.address].includes(relay!);
    const lastsMs = random.between(5, 60) * 1000;
    const text = `${client.index} gets no UDP to ${relay} for ${lastsMs} ms`;
    return { name: 'relay unreachable', text, lastsMs, heal: () => noDrop(world), ...once };
  },
  'cut off': (world, random) => {
    const client = random.pick(world.clients);
    client.offline = true;
    const { realm } = client.home!;
    world.network.drop = (_, at) => at === realm;
    const lastsMs = random.between(1, 60) * 1000;
    const heal = () => {
      client.offline = false;
      noDrop(world);
    };
    const text = `${client.index} is cut off for ${lastsMs} ms`;
    return { name: 'cut off', text, lastsMs, heal, ...span };
  },
};

export const faultNames = Object.keys(faults);

export function goWrong(world: PathWorld, random: Random, step: number): Fault {
  return faults[random.pick(faultNames)]!(world, random, step);
}

function relayBack(
  name: string,
  relay: RelayHost,
  lastsMs: number,
  flags: Pick<Fault, 'isAvoidable' | 'isLossless'>,
): Fault {
  const text = `${name} (${relay.id}) for ${lastsMs} ms`;
  return { name, text, lastsMs, heal: () => relay.restart(), ...flags };
}

function noDrop(world: PathWorld): void {
  world.network.drop = undefined;
}

function setServer(world: PathWorld, isUp: boolean): void {
  world.serverUp = isUp;
  world.stun.up = isUp;
  for (const client of world.clients) client.connected(isUp);
}

/** To a new home of this kind, with addresses as `PathWorld.clientBehind` gives them. */
function moveTo(world: PathWorld, client: PathClient, kind: NatKind, step: number): void {
  const number = 100 + step;
  const publicAddress = `198.51.101.${step}`;
  const home = world.network.home({ name: `move ${step}`, kind, publicAddress });
  const { mapping, ipv6 } = natKind(kind);
  const ipv4 = mapping === 'none' ? `198.18.${number}.2` : `10.0.${step}.2`;
  const addresses = [
    ...(ipv6 === 'only' ? [] : [ipv4]),
    ...(ipv6 === undefined ? [] : [`2001:db8:${number.toString(16)}::2`]),
  ];
  // Routes what is not translated to this home; the machine itself is the client.
  home.host('arrival', addresses);
  for (const address of addresses) home.realm.detach(address);
  client.moveTo(home, addresses);
}
