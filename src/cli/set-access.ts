/** `buri set-access NETWORK SETTING…` */
import type { Command } from 'commander';
import type { VerbRequest } from '#wire/local-api.ts';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { UsageError } from './failure.ts';
import { printable } from './text.ts';

type Access = Omit<VerbRequest<'set-access'>, 'network'>;

const settings: Readonly<Record<string, Access>> = {
  lock: { locked: true },
  unlock: { locked: false },
  manual: { approval: 'manual' },
  auto: { approval: 'auto' },
};

export const setAccessCommand = (): Command =>
  clientCommand('set-access', {
    details:
      '  lock     nobody new gets in, whatever they know\n' +
      '  unlock   who knows the password may join again\n' +
      '  manual   who joins waits until you approve or reject them\n' +
      '  auto     who knows the password is a member at once',
    arguments: [
      ['<network>', 'name or identifier of the network'],
      ['<setting...>', 'lock or unlock, manual or auto'],
    ],
    examples: [
      ['buri set-access games lock', 'nobody new'],
      ['buri set-access games unlock manual', 'open, but you decide'],
    ],
    timeoutMs: serverTimeoutMs,
    request: ([network, ...words]) => ({ network: word([network], 0), ...accessOf(words) }),
    render: (_response, { network, locked, approval }) => {
      const said = [
        ...(locked === undefined ? [] : [locked ? 'locked' : 'unlocked']),
        ...(approval === undefined
          ? []
          : [approval === 'manual' ? 'approves members by hand' : 'approves members by itself']),
      ];
      return `${printable(network)}: ${said.join(', ')}\n`;
    },
  });

/** What the words ask for. UsageError for unknown ones and for contradictions. */
export function accessOf(words: readonly (string | undefined)[]): Access {
  const access: Access = {};
  for (const name of words) {
    const setting = Object.hasOwn(settings, name ?? '') ? settings[name ?? ''] : undefined;
    if (setting === undefined) {
      throw new UsageError(
        `'${name}' is no setting; there are: ${Object.keys(settings).join(', ')}`,
      );
    }
    for (const key of Object.keys(setting) as (keyof Access)[]) {
      if (access[key] !== undefined && access[key] !== setting[key]) {
        throw new UsageError(`'${name}' contradicts a setting before it`);
      }
    }
    Object.assign(access, setting);
  }
  return access;
}
