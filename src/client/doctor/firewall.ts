/** What the firewall of this machine does to a packet that nobody asked for: nftables' rules as `nft -j list ruleset` prints them. */
import { overlap, parsePrefix } from '../prefix.ts';

/** A packet that comes in and belongs to no known flow. */
export interface InboundPacket {
  readonly family: 4 | 6;
  readonly iifname: string;
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'ipv6-icmp';
  readonly source: string;
  readonly destination: string;
  /** Of TCP and UDP. */
  readonly port?: number;
}

export interface FirewallVerdict {
  /** `unknown`: it depends on something that is not understood here. */
  readonly verdict: 'accepts' | 'drops' | 'unknown';
  /** The chain that decides. */
  readonly by?: string;
}

const maxRules = 50_000;
const maxDepth = 16;

type Json = Record<string, unknown>;
type Match = 'yes' | 'no' | 'unknown';
/** `none`: the chain has been gone through. */
type Outcome = 'accept' | 'drop' | 'none';

interface Chain {
  readonly key: string;
  readonly rules: Json[][];
  readonly priority: number;
  readonly policy: string;
  readonly isInput: boolean;
}

/** @param ruleset the parsed JSON; anything else is no firewall that is known of */
export function judgeInbound(ruleset: unknown, packet: InboundPacket): FirewallVerdict {
  const world = new Ruleset(ruleset);
  const input = [...world.chains.values()]
    .filter(({ isInput, key }) => isInput && concerns(key, packet))
    .toSorted((a, b) => a.priority - b.priority);
  for (const chain of input) {
    const walk = new Walk(world, packet);
    const outcome = walk.chain(chain, 0);
    const drops = outcome === 'drop' || (outcome === 'none' && chain.policy === 'drop');
    if (drops && walk.mayAccept === undefined)
      return { verdict: 'drops', by: walk.by ?? chain.key };
    const doubt = drops ? walk.mayAccept : walk.mayDrop;
    if (doubt !== undefined) return { verdict: 'unknown', by: doubt };
  }
  return { verdict: 'accepts' };
}

/** A table of IPv4 does not see IPv6. */
const concerns = (key: string, { family }: InboundPacket): boolean =>
  key.startsWith('inet ') || key.startsWith(family === 4 ? 'ip ' : 'ip6 ');

class Ruleset {
  readonly chains = new Map<string, Chain>();
  readonly sets = new Map<string, unknown[]>();

  constructor(ruleset: unknown) {
    const entries = asObject(ruleset)?.nftables;
    let rules = 0;
    for (const entry of Array.isArray(entries) ? entries : []) {
      const { chain, rule, set, map } = asObject(entry) ?? {};
      const [c, r, s] = [asObject(chain), asObject(rule), asObject(set ?? map)];
      if (c !== undefined) {
        this.chains.set(keyOf(c, c.name), {
          ...{ key: keyOf(c, c.name), rules: [] },
          priority: typeof c.prio === 'number' ? c.prio : 0,
          policy: String(c.policy ?? 'accept'),
          isInput: c.hook === 'input' && c.type === 'filter',
        });
      } else if (r !== undefined && rules++ < maxRules) {
        const all: unknown[] = Array.isArray(r.expr) ? r.expr : [];
        const expressions = all.map(asObject).filter((one) => one !== undefined);
        this.chains.get(keyOf(r, r.chain))?.rules.push(expressions);
      } else if (s !== undefined && Array.isArray(s.elem)) this.sets.set(keyOf(s, s.name), s.elem);
    }
  }
}

const keyOf = ({ family, table }: Json, name: unknown): string => `${family} ${table} ${name}`;

class Walk {
  readonly #world: Ruleset;
  readonly #packet: InboundPacket;
  #steps = 0;
  /** Chain of the rule that decided, and of rules that would decide if what is not understood matched. */
  by: string | undefined;
  mayAccept: string | undefined;
  mayDrop: string | undefined;

  constructor(world: Ruleset, packet: InboundPacket) {
    this.#world = world;
    this.#packet = packet;
  }

  chain(chain: Chain, depth: number, sure = true): Outcome {
    for (const rule of chain.rules) {
      if (this.#steps++ > maxRules) return 'none';
      let match: Match = sure ? 'yes' : 'unknown';
      for (const expression of rule) {
        const verdict = this.#verdict(expression, chain);
        if (verdict === undefined) {
          const fits = this.#matches(expression, rule, chain);
          if (fits === 'no') {
            match = 'no';
            break;
          }
          if (fits === 'unknown') match = 'unknown';
        } else {
          const outcome = this.#apply(verdict, chain, depth, match === 'yes');
          if (outcome === 'return') return 'none';
          if (outcome !== 'none') return outcome;
        }
      }
    }
    return 'none';
  }

  /** What a rule decides when it matches: a verdict object of nftables, also that of a map. */
  #verdict(expression: Json, chain: Chain): Json | undefined {
    for (const name of ['accept', 'drop', 'reject', 'return', 'jump', 'goto']) {
      if (name in expression) return expression;
    }
    const vmap = asObject(expression.vmap);
    if (vmap === undefined) return undefined;
    for (const element of this.#elements(vmap.data, chain)) {
      if (!Array.isArray(element)) continue;
      const fits = this.#equal(vmap.key, element[0], chain);
      if (fits === 'yes') return asObject(element[1]) ?? {};
      if (fits === 'unknown') {
        this.mayAccept ??= chain.key;
        this.mayDrop ??= chain.key;
      }
    }
    return {};
  }

  #apply(verdict: Json, chain: Chain, depth: number, sure: boolean): Outcome | 'return' {
    if ('accept' in verdict) return this.#decided('accept', chain, sure);
    if ('drop' in verdict || 'reject' in verdict) return this.#decided('drop', chain, sure);
    if ('return' in verdict) return sure ? 'return' : 'none';
    const target = asObject(verdict.jump ?? verdict.goto)?.target;
    const next = this.#world.chains.get(chain.key.replace(/[^ ]+$/, String(target)));
    if (target === undefined || next === undefined || depth >= maxDepth) return 'none';
    const outcome = this.chain(next, depth + 1, sure);
    return outcome === 'none' && 'goto' in verdict && sure ? 'return' : outcome;
  }

  #decided(outcome: 'accept' | 'drop', { key }: Chain, sure: boolean): Outcome {
    if (sure) {
      this.by = key;
      return outcome;
    }
    if (outcome === 'accept') this.mayAccept ??= key;
    else this.mayDrop ??= key;
    return 'none';
  }

  #matches(expression: Json, rule: readonly Json[], chain: Chain): Match {
    const match = asObject(expression.match);
    if (match !== undefined) {
      const fits = this.#equal(match.left, match.right, chain);
      if (match.op === '==' || match.op === 'in') return fits;
      if (match.op === '!=') return fits === 'yes' ? 'no' : fits === 'no' ? 'yes' : 'unknown';
      return 'unknown';
    }
    const limit = asObject(expression.limit);
    // One packet does not exceed a limit.
    if (limit !== undefined) return limit.inv === true ? 'no' : 'yes';
    const xt = asObject(expression.xt);
    if (xt !== undefined) return foreign(xt, rule);
    if ('xt' in expression) return 'unknown';
    const harmless = ['counter', 'log', 'comment', 'mangle', 'notrack', 'quota', 'ct count'];
    return harmless.some((name) => name in expression) ? 'yes' : 'unknown';
  }

  #equal(left: unknown, right: unknown, chain: Chain): Match {
    const value = this.#value(left);
    if (value === 'unknown' || value === 'absent') return value === 'absent' ? 'no' : 'unknown';
    const options = this.#elements(right, chain);
    let best: Match = 'no';
    for (const option of options) {
      const fits = same(value, option);
      if (fits === 'yes') return 'yes';
      if (fits === 'unknown') best = 'unknown';
    }
    return best;
  }

  #elements(right: unknown, chain: Chain): readonly unknown[] {
    if (typeof right === 'string' && right.startsWith('@')) {
      return this.#world.sets.get(chain.key.replace(/[^ ]+$/, right.slice(1))) ?? [{}];
    }
    const inner = asObject(right)?.set;
    if (inner !== undefined) return Array.isArray(inner) ? inner : [inner];
    return Array.isArray(right) ? right : [right];
  }

  /** `absent`: such a packet has no such field, so nothing about it matches. */
  #value(left: unknown): string | number | 'unknown' | 'absent' {
    const { iifname, protocol, family, port, source, destination } = this.#packet;
    const object = asObject(left) ?? {};
    const key = asObject(object.meta)?.key;
    if (key === 'iifname' || key === 'iif') return iifname;
    if (key === 'l4proto') return protocol;
    if (key === 'nfproto') return family === 4 ? 'ipv4' : 'ipv6';
    if (key === 'protocol') return family === 4 ? 'ip' : 'ip6';
    if (key === 'iiftype' || key === 'pkttype') return key === 'pkttype' ? 'unicast' : 'unknown';
    if (asObject(object.ct)?.key === 'state') return 'new';
    const payload = asObject(object.payload);
    if (payload === undefined) return 'unknown';
    const { protocol: of, field } = payload;
    if (of === 'ip' || of === 'ip6') {
      if ((of === 'ip') !== (family === 4)) return 'absent';
      if (field === 'saddr') return source;
      if (field === 'daddr') return destination;
      return field === 'protocol' || field === 'nexthdr' ? protocol : 'unknown';
    }
    if (of === 'icmp' || of === 'icmpv6') {
      if (protocol !== (of === 'icmp' ? 'icmp' : 'ipv6-icmp')) return 'absent';
      return field === 'type' ? 'echo-request' : 'unknown';
    }
    if (of === 'tcp' || of === 'udp') {
      if (of !== protocol) return 'absent';
      return field === 'dport' && port !== undefined ? port : 'unknown';
    }
    if (of === 'th') return field === 'dport' && port !== undefined ? port : 'unknown';
    return 'unknown';
  }
}

/**
 * Matches of iptables that nftables cannot name. Of connection tracking only the name is shown: it stands nearly always before
 * RELATED,ESTABLISHED or INVALID, and a new packet is neither.
 */
function foreign({ type, name }: Json, rule: readonly Json[]): Match {
  if (type === 'target') return name === 'LOG' || name === 'NFLOG' ? 'yes' : 'unknown';
  if (name === 'comment') return 'yes';
  const isPlain = !rule.some((expression) => asObject(expression.match) !== undefined);
  if ((name === 'conntrack' || name === 'state') && isPlain) return 'no';
  return 'unknown';
}

function same(value: string | number, option: unknown): Match {
  const object = asObject(option);
  if (object === undefined) {
    if (typeof option === 'string' && typeof value === 'string') return sameText(value, option);
    if (typeof option === 'number' && typeof value === 'string') return 'unknown';
    return value === option ? 'yes' : typeof option === typeof value ? 'no' : 'unknown';
  }
  if (object.elem !== undefined) return same(value, asObject(object.elem)?.val);
  const { range } = object;
  if (Array.isArray(range)) {
    const [low, high] = range;
    if (typeof value !== 'number' || typeof low !== 'number' || typeof high !== 'number') {
      return 'unknown';
    }
    return value >= low && value <= high ? 'yes' : 'no';
  }
  const prefix = asObject(object.prefix);
  if (prefix === undefined || typeof value !== 'string') return 'unknown';
  const [network, address] = [parsePrefix(`${prefix.addr}/${prefix.len}`), parsePrefix(value)];
  if (network === undefined || address === undefined) return 'unknown';
  return overlap(network, address) ? 'yes' : 'no';
}

function sameText(value: string, option: string): Match {
  // Names of interfaces may end in a star.
  if (option.endsWith('*')) return value.startsWith(option.slice(0, -1)) ? 'yes' : 'no';
  const names: Record<string, string> = { icmpv6: 'ipv6-icmp' };
  return (names[option] ?? option) === value ? 'yes' : 'no';
}

const asObject = (value: unknown): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Json)
    : undefined;
