/** Everything that goes wrong, by name and weight; and how it is put right. */
import type { Random } from '../random.ts';
import type { World } from '../world.ts';
import type { Site } from './site.ts';

interface Fault {
  readonly weight: number;
  /** Says what happened; undefined when it could not. */
  readonly happen: (world: World, random: Random) => string | undefined;
}

const minutes = 60_000;
/** The Internet on a good day. */
const goodLink = { jitterMs: 4, loss: 0.002, duplication: 0.002 };

const faults: Readonly<Record<string, Fault>> = {
  'bad links': {
    weight: 2,
    happen(world, random) {
      const { link } = world.network.internet;
      const change = {
        jitterMs: random.between(0, 60),
        loss: random.float() * 0.25,
        duplication: random.float() * 0.1,
      };
      world.network.internet.link = { ...link, ...change };
      return `links: ${(change.loss * 100).toFixed(1)} % loss, ${change.jitterMs} ms jitter`;
    },
  },
  'good links': {
    weight: 2,
    happen(world) {
      world.network.internet.link = { ...world.network.internet.link, ...goodLink };
      return 'links are good';
    },
  },
  'cut site': {
    weight: 3,
    happen(world, random) {
      const site = random.pick(world.sites);
      if (site.cut) return undefined;
      const durationMs = random.between(200, 50_000);
      cut(world, site);
      world.clock.in(durationMs, () => uncut(site));
      return `${site.name} is cut off for ${durationMs} ms`;
    },
  },
  'black hole': {
    weight: 2,
    happen(world, random) {
      const [from, to] = [random.pick(world.sites), random.pick(world.sites)];
      const way = `${from.index} ${to.index}`;
      world.blackHoles.add(way);
      world.clock.in(random.between(1000, 40_000), () => world.blackHoles.delete(way));
      return `packets from site ${from.index} to site ${to.index} vanish`;
    },
  },
  'NAT reboot': {
    weight: 3,
    happen(world, random) {
      const site = random.pick(world.sites);
      site.home.reboot();
      // Its TCP connections are unknown to it from now on; some routers answer with a reset.
      const isReset = random.chance(0.5);
      for (const daemon of world.daemons) {
        if (daemon.site !== site) continue;
        if (isReset) daemon.link?.wire?.reset();
        else daemon.link?.wire?.vanish();
      }
      return `the router of ${site.name} reboots`;
    },
  },
  roam: {
    weight: 4,
    happen(world, random) {
      const daemon = random.pick(world.daemons);
      const site = random.pick(world.sites);
      if (site === daemon.site) return undefined;
      daemon.move(site);
      return `${daemon.name} moves to ${site.name}`;
    },
  },
  'daemon dies': {
    weight: 3,
    happen(world, random) {
      const daemon = random.pick(world.daemons);
      if (!daemon.isUp) return undefined;
      const isPowerLoss = random.chance(0.4);
      daemon.crash(isPowerLoss);
      world.clock.in(random.between(100, 90_000), () => daemon.start());
      return `${daemon.name} ${isPowerLoss ? 'loses power' : 'is killed'}`;
    },
  },
  'daemon restarts': {
    weight: 3,
    happen(world, random) {
      const daemon = random.pick(world.daemons);
      if (!daemon.isUp) return undefined;
      daemon.stop();
      world.clock.in(random.between(0, 30_000), () => daemon.start());
      return `${daemon.name} is stopped`;
    },
  },
  'control connection lost': {
    weight: 3,
    happen(world, random) {
      const daemon = random.pick(world.daemons);
      const wire = daemon.link?.wire;
      if (wire === undefined) return undefined;
      if (random.chance(0.5)) wire.reset();
      else wire.vanish();
      return `${daemon.name} loses its control connection`;
    },
  },
  'server dies': {
    weight: 1,
    happen(world, random) {
      if (!world.server.isUp) return undefined;
      world.server.kill();
      world.stun.up = false;
      world.clock.in(random.between(100, 40_000), () => startServer(world));
      return 'the server is killed';
    },
  },
  'clock jump': {
    weight: 2,
    happen(world, random) {
      const daemon = random.pick(world.daemons);
      daemon.clockErrorMs = random.between(-120 * minutes, 120 * minutes);
      return `${daemon.name}'s clock is wrong by ${Math.round(daemon.clockErrorMs / 1000)} s`;
    },
  },
  replay: {
    weight: 3,
    happen(world, random) {
      if (world.recorded.length === 0) return undefined;
      const count = random.between(1, 40);
      for (let i = 0; i < count; i++) world.network.internet.send(random.pick(world.recorded));
      return `somebody sends ${count} recorded datagrams again`;
    },
  },
  tampering: {
    weight: 2,
    happen(world, random) {
      if (world.recorded.length === 0) return undefined;
      for (let i = 0; i < 20; i++) {
        const packet = random.pick(world.recorded);
        const kept = random.chance(0.5) ? packet.bytes.length : random.below(packet.bytes.length);
        const bytes = packet.bytes.slice(0, kept);
        if (bytes.length > 0) bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
        world.network.internet.send({ ...packet, bytes });
      }
      return 'somebody sends datagrams with changes';
    },
  },
  'forged source': {
    weight: 2,
    happen(world, random) {
      const [from, to] = [random.pick(world.daemons), random.pick(world.daemons)];
      const forgedAs = random.pick(world.daemons);
      const hasAddress = forgedAs.clientId !== undefined;
      if (from === to || forgedAs === from || !hasAddress) return undefined;
      for (let i = 0; i < 3; i++) world.say(from, to, { ipv6: i === 1, forgedAs });
      return `${from.name} sends to ${to.name} as ${forgedAs.name}`;
    },
  },
};

const totalWeight = Object.values(faults).reduce((sum, { weight }) => sum + weight, 0);

/** Something goes wrong. What it was, or undefined when it could not. */
export function goWrong(world: World, random: Random): string | undefined {
  let at = random.float() * totalWeight;
  for (const fault of Object.values(faults)) {
    at -= fault.weight;
    if (at < 0) return fault.happen(world, random);
  }
  return undefined;
}

/** Everything is put right: whoever was away comes back, links are good. Clocks stay as wrong as they are. */
export function heal(world: World): void {
  world.network.internet.link = { ...world.network.internet.link, ...goodLink };
  world.blackHoles.clear();
  for (const site of world.sites) uncut(site);
  startServer(world);
  for (const daemon of world.daemons) daemon.start();
}

function startServer(world: World): void {
  world.stun.up = true;
  if (!world.server.isUp) world.server.start();
}

function cut(world: World, site: Site): void {
  site.cut = true;
  for (const daemon of world.daemons) {
    const wire = daemon.link?.wire;
    if (daemon.site !== site || wire === undefined) continue;
    wire.stall();
    site.stalled.add(wire);
  }
}

function uncut(site: Site): void {
  site.cut = false;
  for (const wire of site.stalled) wire.resume();
  site.stalled.clear();
}
