/** `buri server backup`, `restore`, `migrate` */
import { Command, Option } from 'commander';
import type { Copied } from '#server/admin/backup.ts';
import { exampleText } from './client-command.ts';
import { UsageError } from './failure.ts';
import { print, standardPaint } from './output.ts';
import { operatorOptions } from './server-verb.ts';
import { type Cell, table } from './table.ts';
import { jsonLine } from './text.ts';

interface Flags {
  readonly data?: string;
  readonly store?: string;
  readonly json?: true;
  readonly from?: string;
  readonly to?: string;
}

export const serverBackupCommand = (): Command =>
  operatorOptions(new Command('backup'))
    .summary('Write everything into one file')
    .description(
      'Write database and keys into one new file, beside a running server too. Who has the file has the server: keep it safe.',
    )
    .argument('<file>', 'a file that is not there yet')
    .addHelpText('after', exampleText([['buri server backup --data DIR /backup/buri-today', '']]))
    .action(async (file: string, _flags: unknown, command: Command) => {
      const flags = command.optsWithGlobals<Flags>();
      const { backup } = await import('#server/admin/backup.ts');
      await show(flags, await backup(dataOf(flags), flags.store, file));
    });

export const serverRestoreCommand = (): Command =>
  operatorOptions(new Command('restore'))
    .summary('Make a server of a backup')
    .description('Put a backup into a new data directory and an empty database.')
    .argument('<file>', 'as `buri server backup` wrote it')
    .action(async (file: string, _flags: unknown, command: Command) => {
      const flags = command.optsWithGlobals<Flags>();
      const { restore } = await import('#server/admin/backup.ts');
      await show(flags, await restore(file, dataOf(flags), flags.store));
    });

export const serverMigrateCommand = (): Command =>
  new Command('migrate')
    .summary('Move the data to another database')
    .description(
      'Copy all data into an empty database and compare both. Stop the server before; start it with the new --store afterwards.',
    )
    .addOption(new Option('--from <where>', 'sqlite:PATH or postgres://…'))
    .addOption(new Option('--to <where>', 'postgres://… or sqlite:PATH'))
    .option('--json', 'print one compact line of JSON, errors too')
    .addHelpText(
      'after',
      exampleText([['buri server migrate --from sqlite:DIR/buri.db --to postgres://…', '']]),
    )
    .action(async (_flags: unknown, command: Command) => {
      const flags = command.optsWithGlobals<Flags>();
      const { from, to } = flags;
      if (from === undefined || to === undefined)
        throw new UsageError('--from and --to are required');
      const { migrate } = await import('#server/admin/backup.ts');
      await show(flags, await migrate(from, to));
    });

function dataOf({ data }: Flags): string {
  if (data === undefined) throw new UsageError('--data DIR is required');
  return data;
}

async function show({ json }: Flags, copied: Copied): Promise<void> {
  if (json === true) {
    await print(jsonLine({ ok: true, ...copied }));
    return;
  }
  const heading = ['table', 'rows', 'checksum'].map((name): Cell => [name, 'bold']);
  const rows = copied.tables.map((sum): Cell[] => [
    sum.table,
    String(sum.rows),
    sum.checksum.slice(0, 16),
  ]);
  await print(`${table([heading, ...rows], standardPaint())}the copy is the same\n`);
}
