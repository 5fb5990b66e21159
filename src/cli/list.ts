/** `buri list` */
import type { Command } from 'commander';
import type { NetworkEntry } from '#wire/local-api.ts';
import { clientCommand } from './client-command.ts';
import type { Paint } from './table.ts';
import { legend, memberTable, networkTitle } from './view.ts';

export const listCommand = (): Command =>
  clientCommand('list', {
    details: legend,
    examples: [
      ['buri list', ''],
      ['buri list --json', 'for scripts'],
    ],
    request: () => ({}),
    render: ({ networks }, _request, paint) => networkTree(networks, paint),
  });

/** The networks by name, each with its members. */
export function networkTree(networks: readonly NetworkEntry[], paint: Paint): string {
  if (networks.length === 0) {
    return "no networks yet; 'buri create NETWORK' makes one, 'buri join NETWORK' enters one\n";
  }
  return [...networks]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map((network) => networkTitle(network, paint) + memberTable(network, paint, '  '))
    .join('\n');
}
