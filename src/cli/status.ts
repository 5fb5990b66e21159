/** `buri status` */
import type { Command } from 'commander';
import type { StatusView } from '#wire/local-api.ts';
import { clientCommand } from './client-command.ts';
import { type Cell, type Colour, facts, type Paint } from './table.ts';
import { duration } from './view.ts';

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
      ['notices', ...status.notices.map(({ message }): Cell => [message, 'yellow'])],
    ],
    paint,
  );
  if (server.url !== null) return text;
  return `${text}\nlog in with: buri login buri://HOST:PORT#SERVER-KEY\n`;
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
