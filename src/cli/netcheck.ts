/** `buri netcheck` */
import type { Command } from 'commander';
import type { NetcheckView } from '#wire/local-api.ts';
import { clientCommand } from './client-command.ts';
import { type Cell, facts, type Paint } from './table.ts';
import { duration, milliseconds, relayText } from './view.ts';

export const netcheckCommand = (): Command =>
  clientCommand('netcheck', {
    examples: [
      ['buri netcheck', 'what the network between this computer and others lets through'],
      ['buri netcheck --json', 'for scripts'],
    ],
    request: () => ({}),
    render: (view, _request, paint) => netcheckText(view, paint),
  });

export function netcheckText(view: NetcheckView, paint: Paint): string {
  const { nat } = view;
  const why = new Map(view.meaning.map(({ about, text }) => [about, text]));
  const row = (name: string, about: string, value: string | undefined): [string, ...Cell[]] => {
    const text = why.get(about);
    if (value === undefined) return [name];
    return text === undefined ? [name, value] : [name, value, [text, 'grey']];
  };
  return facts(
    [
      row('UDP', 'udp', view.udp),
      row('IPv4', 'ipv4', familyText(view.ipv4)),
      row('IPv6', 'ipv6', familyText(view.ipv6)),
      row('mapping', 'mapping', nat.mapping),
      row('filtering', 'filtering', nat.filtering),
      row('hairpin', 'hairpin', yesNo(nat.hairpin)),
      row('port preserved', 'portPreserved', yesNo(nat.portPreserved)),
      row('allocation', 'allocation', allocationText(nat.allocation)),
      row('idle lifetime', 'mappingLifetimeMs', lifetimeText(nat.mappingLifetimeMs)),
      row('port mapping', 'portMapping', portMappingText(view.portMapping)),
      row('HTTP proxy', 'httpProxy', view.httpProxy ?? 'none'),
      relayRow(view.relays, why.get('relays')),
    ],
    paint,
  );
}

/** A line each. */
function relayRow(relays: NetcheckView['relays'], why: string | undefined): [string, ...Cell[]] {
  const lines: Cell[] = relays.length === 0 ? ['none'] : relays.map(relayText);
  return ['relays', ...lines, ...(why === undefined ? [] : [[why, 'grey'] as const])];
}

function familyText(family: NetcheckView['ipv4']): string {
  if (family === null) return 'none';
  const { udp, publicEndpoint, rttMs } = family;
  if (udp !== 'works' && publicEndpoint === null) return udp === 'blocked' ? 'no answer' : udp;
  const rtt = rttMs === null ? [] : [`${milliseconds(rttMs)} to the server`];
  return [`seen as ${publicEndpoint}`, ...rtt].join(', ');
}

const yesNo = (value: boolean | null): string | undefined =>
  value === null ? undefined : value ? 'yes' : 'no';

function allocationText(allocation: NetcheckView['nat']['allocation']): string | undefined {
  if (allocation === null) return undefined;
  const { pattern, step, block } = allocation;
  if (step !== undefined) return `${pattern}, step ${step}`;
  if (block === undefined) return pattern;
  return `${pattern} of about ${block.size} ports from ${block.first}`;
}

const lifetimeText = (lifetimeMs: number | null): string =>
  lifetimeMs === null ? 'not known yet' : `more than ${duration(lifetimeMs)}`;

function portMappingText(found: NetcheckView['portMapping']): string {
  const words = found.map(({ protocol, usable, externalEndpoint, reason }) => {
    const detail = usable ? externalEndpoint : (reason ?? 'not usable');
    return detail === undefined ? protocol : `${protocol} (${detail})`;
  });
  return words.join(', ') || 'none';
}
