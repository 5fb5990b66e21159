/** What all client verbs have in common: `--socket`, `--json`, one request to the daemon, one answer printed. */
import { Command } from 'commander';
import type { Verb, VerbRequest, VerbResponse } from '#wire/local-api.ts';
import { commandNamed } from './commands.ts';
import { UsageError } from './failure.ts';
import { callDaemon, socketPathOf } from './local-client.ts';
import { print, standardPaint } from './output.ts';
import type { Paint } from './table.ts';
import { jsonLine } from './text.ts';

/** Verbs that the daemon answers from what it knows. */
const localTimeoutMs = 15_000;
/** Verbs that wait for the server; some run Argon2id first, on computers of any speed. */
export const serverTimeoutMs = 90_000;
const maxWaitSeconds = 600;

/** The options of a verb as commander gives them. */
export interface VerbOptions {
  readonly socket?: string;
  readonly json?: true;
  readonly wait?: number;
  readonly [name: string]: unknown;
}

export interface ClientVerb<V extends Verb> {
  /** What the help says below the usage, after the one-line summary. */
  readonly details?: string;
  /** `<name>` is required, `[name]` is not, `<name...>` takes one or more. */
  readonly arguments?: readonly (readonly [syntax: string, description: string])[];
  readonly options?: readonly (readonly [flags: string, description: string])[];
  /** Command lines with what they do. */
  readonly examples: readonly (readonly [commandLine: string, meaning: string])[];
  readonly timeoutMs?: number;
  /** Adds `--wait SECONDS`, with what it waits for. */
  readonly wait?: string;
  /** The body of the request. `words` are the arguments in order, absent ones undefined. */
  request(
    words: readonly (string | undefined)[],
    options: VerbOptions,
  ): VerbRequest<V> | Promise<VerbRequest<V>>;
  /** The answer for people, whole lines. */
  render(response: VerbResponse<V>, request: VerbRequest<V>, paint: Paint): string;
}

export function clientCommand<V extends Verb>(verb: V, definition: ClientVerb<V>): Command {
  const summary = commandNamed(verb)?.summary ?? verb;
  const { details, timeoutMs = localTimeoutMs, wait } = definition;
  const command = new Command(verb)
    .summary(summary)
    .description(details === undefined ? `${summary}.` : `${summary}.\n\n${details}`);
  for (const [syntax, description] of definition.arguments ?? []) {
    command.argument(syntax, description);
  }
  for (const [flags, description] of definition.options ?? []) command.option(flags, description);
  if (wait !== undefined) command.option('--wait <seconds>', wait, waitSeconds);
  clientOptions(command);
  command.addHelpText('after', exampleText(definition.examples));
  return command.action(async (...parameters: unknown[]) => {
    const words = parameters.slice(0, -2).flat() as (string | undefined)[];
    // Options may stand before the command as well; what stands after it counts.
    const options: VerbOptions = { ...command.parent?.opts(), ...command.opts() };
    const socketPath = socketPathOf(options.socket);
    const request = await definition.request(words, options);
    const patienceMs = timeoutMs + (options.wait ?? 0) * 1000;
    const response = await callDaemon(socketPath, verb, request, patienceMs);
    await print(
      options.json ? jsonLine(response) : definition.render(response, request, standardPaint()),
    );
  });
}

/** The options of every client verb. */
export const clientOptions = (command: Command): Command =>
  command
    .option('--socket <path>', "the daemon's socket (environment: BURI_SOCKET)")
    .option('--json', 'print one compact line of JSON, errors too');

/** `{ key: value }`, or nothing: absent fields are not sent. */
export const given = <K extends string, T>(key: K, value: T | undefined): { [_ in K]?: T } =>
  value === undefined ? {} : ({ [key]: value } as { [_ in K]?: T });

/** An argument that commander has already required. */
export function word(words: readonly (string | undefined)[], index: number): string {
  const value = words[index];
  if (value === undefined || value === '') throw new UsageError('an argument is empty');
  return value;
}

export function waitSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^[0-9]+([.][0-9]+)?$/.test(text) || seconds > maxWaitSeconds) {
    throw new UsageError(`--wait takes a number of seconds from 0 to ${maxWaitSeconds}`);
  }
  return seconds;
}

export function exampleText(examples: readonly (readonly [string, string])[]): string {
  const width = Math.max(...examples.map(([commandLine]) => commandLine.length));
  const lines = examples.map(([line, meaning]) =>
    meaning === '' ? `  ${line}` : `  ${line.padEnd(width)}   # ${meaning}`,
  );
  return `\nExamples:\n${lines.join('\n')}\n`;
}
