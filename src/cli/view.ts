/** How networks, members and paths look in tables. */
import type { MemberEntry, NetworkEntry, PathView, RelayView } from '#wire/local-api.ts';
import { type Cell, type Colour, type Paint, table } from './table.ts';
import { printable } from './text.ts';

/** `direct`, `relayed`…, and in one word what is the matter where there is no path. */
const pathWords: Readonly<Record<PathView['kind'], string>> = {
  direct: 'direct',
  relayed: 'relayed',
  establishing: 'connecting',
  unreachable: 'unreachable',
  none: '',
};

export type MemberState =
  | 'self'
  | 'direct'
  | 'relayed'
  | 'online'
  | 'connecting'
  | 'unconfirmed'
  | 'unreachable'
  | 'offline';

/** Mark in the first column, legible without colour, and its colour. */
const looks: Readonly<Record<MemberState, readonly [mark: string, colour: Colour]>> = {
  self: ['*', 'bold'],
  direct: ['*', 'green'],
  relayed: ['*', 'blue'],
  online: ['*', 'grey'],
  connecting: ['~', 'yellow'],
  unconfirmed: ['?', 'yellow'],
  unreachable: ['x', 'red'],
  offline: ['-', 'grey'],
};

export const legend = '* online   ~ connecting   ? unconfirmed   x unreachable   - offline';

/** @param takesPart whether this computer is online in the network: if not there is no tunnel to make. */
export function stateOf(member: MemberEntry, takesPart: boolean): MemberState {
  if (member.self) return 'self';
  if (member.presence === 'offline') return 'offline';
  if (!takesPart) return member.presence;
  if (member.path.kind === 'unreachable') return 'unreachable';
  if (member.presence === 'unconfirmed') return 'unconfirmed';
  switch (member.path.kind) {
    case 'direct':
    case 'relayed':
      return member.path.kind;
    case 'establishing':
    case 'none':
      return 'connecting';
    default:
      return member.path.kind satisfies never;
  }
}

/** One line for each member, this computer first, then those who are there. */
export function memberTable(network: NetworkEntry, paint: Paint, indent: string): string {
  const rows = [...network.members].sort(byInterest).map((member) => memberRow(network, member));
  const waiting = network.pending.map(({ clientId, nick }): Cell[] => [
    ['+', 'yellow'],
    clientId,
    nick,
    '',
    '',
    ['asks to join', 'yellow'],
  ]);
  return table([...rows, ...waiting], paint, indent);
}

/** `direct UDP 192.0.2.7:4242 12.3 ms`, with the reason where there is one to know. */
export function pathText({ kind, transport, endpoint, rttMs, reason }: PathView): string {
  const words = [
    pathWords[kind],
    transport?.toUpperCase(),
    endpoint,
    rttMs === undefined ? undefined : milliseconds(rttMs),
    reason === undefined ? undefined : `(${reason})`,
  ];
  return words.filter((word) => word !== undefined && word !== '').join(' ');
}

/** `203.0.113.7:3480 by UDP 12.3 ms (home)`; by its id where nothing is held there. */
export function relayText({ id, address, transport, rttMs, ...relay }: RelayView): string {
  const notes = [
    relay.home ? 'home' : undefined,
    relay.draining ? 'about to end' : undefined,
    relay.held || rttMs !== undefined ? undefined : 'no answer',
  ].filter((note) => note !== undefined);
  const words = [
    address ?? id,
    transport === undefined ? undefined : `by ${transport.toUpperCase()}`,
    rttMs === undefined ? undefined : milliseconds(rttMs),
    notes.length === 0 ? undefined : `(${notes.join(', ')})`,
  ];
  return words.filter((word) => word !== undefined).join(' ');
}

/** `games [398-581-422]`, and what is not obvious about it. */
export function networkTitle(network: NetworkEntry, paint: Paint): string {
  const name = paint('bold', printable(network.name));
  return `${name} [${printable(network.id)}]  ${printable(networkNotes(network).join(', '))}\n`;
}

export function networkNotes(network: NetworkEntry): string[] {
  if (network.state === 'pending') return ['waits for the approval of its owner'];
  const online = network.members.filter(({ presence }) => presence === 'online').length;
  const count = network.members.length;
  return [
    `${count} ${count === 1 ? 'member' : 'members'}, ${online} online`,
    `owner: ${ownerText(network)}`,
    ...(network.online ? [] : ['this computer is offline in it']),
    ...(network.locked ? ['locked'] : []),
    ...(network.approval === 'manual' ? ['approval by hand'] : []),
    ...(network.password ? [] : ['no password']),
  ];
}

/** `this computer`, or `nick (client id)`. */
export function ownerText({ owner, members }: NetworkEntry): string {
  const member = members.find(({ clientId }) => clientId === owner);
  if (member === undefined) return owner;
  return member.self ? 'this computer' : `${member.nick} (${owner})`;
}

/** Milliseconds as people read them. */
export const milliseconds = (ms: number): string =>
  `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** A span of time in its largest unit. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.round(ms / 3_600_000)} h`;
  return `${Math.round(ms / 86_400_000)} days`;
}

/** An amount of data with a unit of 1,000. */
export function amount(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

function memberRow(network: NetworkEntry, member: MemberEntry): Cell[] {
  const state = stateOf(member, network.online);
  const [mark, colour] = looks[state];
  const { path, clientId, nick, ipv4, ipv6 } = member;
  const word = stateWord(state, path);
  const known = state === 'direct' || state === 'relayed' || state === 'unconfirmed';
  const details = [
    known ? path.transport?.toUpperCase() : undefined,
    known ? path.endpoint : undefined,
  ];
  return [
    [mark, colour],
    clientId,
    nick,
    ipv4,
    ipv6,
    [word, colour],
    details.filter((detail) => detail !== undefined).join(' '),
    known && path.rttMs !== undefined ? milliseconds(path.rttMs) : '',
    path.reason === undefined || state === 'self' || state === 'online' ? '' : `(${path.reason})`,
  ];
}

function stateWord(state: MemberState, path: PathView): string {
  if (state === 'self') return 'this computer';
  if (state === 'unconfirmed') return `${pathWords[path.kind]} unconfirmed`.trim();
  return state;
}

const ranks: Readonly<Record<MemberEntry['presence'], number>> = {
  online: 1,
  unconfirmed: 2,
  offline: 3,
};

function byInterest(a: MemberEntry, b: MemberEntry): number {
  const rank = (member: MemberEntry) => (member.self ? 0 : ranks[member.presence]);
  return rank(a) - rank(b) || compare(a.nick, b.nick) || compare(a.clientId, b.clientId);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
