/** What the operator's verbs have in common: `--data`, `--store`, `--json`, one answer printed. */
import { type Command, Option } from 'commander';
import type { AdminRequest, AdminVerb } from '#server/admin/verbs.ts';
import { UsageError } from './failure.ts';
import { print, standardPaint } from './output.ts';
import type { Paint } from './table.ts';
import { jsonLine } from './text.ts';

export type Answer = Record<string, unknown>;

export function operatorOptions(command: Command): Command {
  return command
    .addOption(new Option('--data <dir>', 'directory of the server').env('BURI_DATA'))
    .addOption(new Option('--store <where>', 'its database, if elsewhere').env('BURI_STORE'))
    .option('--json', 'print one compact line of JSON, errors too');
}

/** Asks the running server, or does it on its data when none runs, and prints the answer. */
export async function operate<V extends AdminVerb>(
  command: Command,
  verb: V,
  request: AdminRequest<V>,
  render: (answer: Answer, paint: Paint) => string,
): Promise<void> {
  const flags = command.optsWithGlobals<{ data?: string; store?: string; json?: true }>();
  if (flags.data === undefined) throw new UsageError('--data DIR is required');
  const { callServer } = await import('#server/admin/client.ts');
  const answer = await callServer({ data: flags.data, store: flags.store }, verb, request);
  await print(flags.json === true ? jsonLine(answer) : render(answer, standardPaint()));
}

export const dateText = (ms: number): string =>
  `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
