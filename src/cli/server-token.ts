/** `buri server url`, `buri server token create|list|revoke` */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { TokenEntry } from '#server/admin/actions.ts';
import { exampleText } from './client-command.ts';
import { dateText, operate, operatorOptions } from './server-verb.ts';
import { type Cell, table } from './table.ts';

export const serverUrlCommand = (): Command =>
  operatorOptions(new Command('url'))
    .summary('Print what clients log in to')
    .description('Print what clients log in to: buri://HOST:PORT#SERVER-KEY.')
    .action(async (_options: unknown, command: Command) => {
      await operate(command, 'url', {}, ({ url }) => `${url}\n`);
    });

export function serverTokenCommand(): Command {
  const token = new Command('token')
    .summary('Make, list and revoke enrolment tokens')
    .description('Enrolment tokens: a new device shows one at its first login.')
    .addHelpText(
      'after',
      exampleText([
        ['buri server token create --data DIR', 'for one device, within a day'],
        ['buri server token create --uses 20 --expires 7d --data DIR', 'for a class'],
        ['buri server token create --relay --data DIR', 'for a relay (`buri relay`)'],
        ['buri server token list --data DIR', ''],
        ['buri server token revoke ID --data DIR', 'it enrols nobody any more'],
      ]),
    );
  return token.addCommand(create()).addCommand(list()).addCommand(revoke());
}

const create = () =>
  operatorOptions(new Command('create'))
    .summary('Make a token')
    .description('Make a token and print it. It is shown this once.')
    .option('--relay', 'it enrols a relay instead of a device')
    .option('--uses <n>', "how many devices may enrol with it, or 'any'", useCount, 1)
    .addOption(
      new Option('--expires <time>', "how long it is good: 30m, 12h, 7d, or 'never'")
        .argParser(duration)
        .default(86_400_000, '1d'),
    )
    .action(
      async (
        flags: { uses: number | 'any'; expires: number | 'never'; relay?: true },
        command: Command,
      ) => {
        const request = {
          uses: flags.uses === 'any' ? null : flags.uses,
          expiresInMs: flags.expires === 'never' ? null : flags.expires,
          kind: flags.relay === true ? 'relay' : 'device',
        } as const;
        await operate(command, 'token-create', request, (answer) => `${answer.token}\n`);
      },
    );

const list = () =>
  operatorOptions(new Command('list'))
    .summary('List tokens')
    .description('List tokens with their uses. The tokens themselves are not kept.')
    .action(async (_flags: unknown, command: Command) => {
      await operate(command, 'token-list', {}, (answer, paint) => {
        const tokens = answer.tokens as readonly TokenEntry[];
        if (tokens.length === 0) return "no tokens; 'buri server token create' makes one\n";
        const rows = tokens.map((token): Cell[] => [
          token.id,
          [token.state, token.state === 'valid' ? 'green' : 'grey'],
          token.kind,
          `${token.uses}/${token.maxUses ?? 'any'}`,
          dateText(token.createdAt),
          token.expiresAt === null ? 'never' : dateText(token.expiresAt),
        ]);
        const heading = ['id', 'state', 'for', 'uses', 'created', 'expires'];
        return table([heading.map((name): Cell => [name, 'bold']), ...rows], paint);
      });
    });

const revoke = () =>
  operatorOptions(new Command('revoke'))
    .summary('Make a token useless')
    .description('Make a token useless. Devices that enrolled with it stay.')
    .argument('<id>', 'as `token list` shows it')
    .action(async (id: string, _flags: unknown, command: Command) => {
      await operate(command, 'token-revoke', { id }, () => `revoked ${id}\n`);
    });

function useCount(text: string): number | 'any' {
  if (text === 'any') return text;
  if (!/^[1-9][0-9]{0,8}$/.test(text))
    throw new InvalidArgumentError("expected a number or 'any'.");
  return Number(text);
}

const unitMs: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const maxDays = 3_650;

/** Milliseconds; a number without a unit is seconds. */
function duration(text: string): number | 'never' {
  if (text === 'never') return text;
  const match = /^([1-9][0-9]{0,8})([smhd]?)$/.exec(text);
  const ms = match === null ? 0 : Number(match[1]) * unitMs[match[2] || 's']!;
  if (ms === 0 || ms > maxDays * 86_400_000)
    throw new InvalidArgumentError("expected a time like 30m, 12h, 7d, or 'never'.");
  return ms;
}
