/** `buri status` */
import type { Command } from 'commander';
import type { PortMappingView, StatusView } from '#wire/local-api.ts';
import { clientCommand } from './client-command.ts';
import { type Cell, type Colour, facts, type Paint } from './table.ts';
import { duration, relayText } from './view.ts';

export const statusCommand = (): Command =>
  clientCommand('status', {
    examples: [
      ['buri status', ''],
      ['buri status --json', 'for scripts; with all counters'],
    ],
    request: () => ({}),
    render: (status, _request, paint) => statusText(status, paint),
  });

const stateColours: Readonly<Record<StatusView['state'], Colour>> = {
  online: 'green',
  connecting: 'yellow',
  offline: 'grey',
};

export function statusText(status: StatusView, paint: Paint): string {
  const { state, server, nat } = status;
  const text = facts(
    [
      ['version', status.version],
      ['daemon', `process ${status.pid}`],
      ['state', [state, stateColours[state]]],
      ['client id', status.clientId ?? 'none before the first login'],
      ['nickname', status.nick],
      ['addresses', status.ipv4 ?? 'none', status.ipv6 ?? undefined],
      ['device', `${status.device ?? 'none'}${status.mode === 'tap' ? ', Ethernet mode' : ''}`],
      ['UDP port', status.port === null ? 'none' : String(status.port)],
      [
        'LAN routes',
        ...status.lanRoutes.map(
          ({ destination, metric, why }) => `${destination} metric ${metric}: ${why}`,
        ),
      ],
      ['server', ...serverLines(server)],
      ['NAT', `mapping ${nat.mapping}, filtering ${nat.filtering}`],
      ['seen as', ...nat.publicEndpoints],
      ['port mapping', ...portMappingLines(status.portMapping)],
      ['relays', ...status.relays.map(relayText)],
      ['notices', ...status.notices.map(({ message }): Cell => [message, 'yellow'])],
    ],
    paint,
  );
  if (server.url !== null) return text;
  return `${text}\nlog in with: buri login buri://HOST:PORT#SERVER-KEY\n`;
}

const protocolNames = { pcp: 'PCP', 'nat-pmp': 'NAT-PMP', upnp: 'UPnP' } as const;

/** What the router gave, or what each protocol came to. */
function portMappingLines(mapping: PortMappingView): Cell[] {
  const { enabled, external, protocol, note, gateways } = mapping;
  if (!enabled) return ['off'];
  const lines: Cell[] = [];
  if (external !== null && protocol !== null) {
    lines.push([`${external} by ${protocolNames[protocol]}`, 'green']);
  }
  if (note !== undefined) lines.push([note, 'yellow']);
  const opened = gateways.filter(({ family, mappings }) => family === 6 && mappings.length > 0);
  for (const { mappings } of opened) lines.push(`${mappings[0]?.external} by PCP`);
  if (lines.length > 0) return lines;
  if (gateways.length === 0) return ['no router to ask'];
  const protocols = [
    ['PCP', mapping.pcp],
    ['NAT-PMP', mapping.natPmp],
    ['UPnP', mapping.upnp],
  ] as const;
  return [protocols.map(([name, { state, reason }]) => `${name} ${reason ?? state}`).join(', ')];
}

/** Where, whether, and if not, why and what happens next. The key in the URL says nothing to a person. */
function serverLines({ url, connected, proxy, error, retryInMs }: StatusView['server']): Cell[] {
  if (url === null) return ['none'];
  const where = url.replace(/#.*$/s, '');
  const lines: Cell[] = [`${where}, ${connected ? 'connected' : 'not connected'}`];
  if (proxy !== undefined) lines.push(`through the proxy ${proxy}`);
  if (error !== undefined) lines.push([error.message, 'red']);
  if (!connected && retryInMs !== undefined) lines.push(`tries again in ${duration(retryInMs)}`);
  return lines;
}
