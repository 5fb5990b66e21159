/** The command line as a whole: which command, its help, its errors, its exit code. */
import { Command, CommanderError } from 'commander';
import { version } from '#client/version.ts';
import { clientOptions, exampleText } from './client-command.ts';
import { type CommandEntry, commandNamed, commands } from './commands.ts';
import {
  exitOk,
  exitUsage,
  type Failure,
  failureJson,
  failureOf,
  failureText,
  UsageError,
} from './failure.ts';
import { print } from './output.ts';

const description =
  'Buri makes a private LAN over the Internet: computers that join the same network reach each other ' +
  'as if they stood in one room, through encrypted tunnels from peer to peer.';

const examples = [
  ['buri login buri://vpn.example.org:8443#KEY --nick anna', 'log in to your server, once'],
  ['buri create games -', 'make a network; its password is asked for'],
  ['buri join games -', 'on the other computer'],
  ['buri list', 'who is there, at which address, by which path'],
  ['buri join --help', 'more about one command, with examples'],
] as const;

/** Runs one command line (without `node` and the script) and returns the exit code. */
export async function run(words: readonly string[]): Promise<number> {
  try {
    const program = await programFor(words);
    if (words.length === 0) {
      process.stderr.write(program.helpInformation());
      return exitUsage;
    }
    await program.parseAsync(words, { from: 'user' });
    return exitOk;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return exitOk;
    // A command that has commands of its own, without one: its help stands on standard error.
    if (error instanceof CommanderError && error.code === 'commander.help') return exitUsage;
    const failure = error instanceof CommanderError ? usageFailure(error) : failureOf(error);
    await report(failure, words);
    return failure.exitCode;
  }
}

/** All commands by name and summary; the one that is meant is whole. */
async function programFor(words: readonly string[]): Promise<Command> {
  const program = new Command('buri')
    .description(description)
    .usage('<command> [arguments] [options]')
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .addHelpText('after', exampleText(examples))
    .enablePositionalOptions();
  clientOptions(program);
  const chosen = commandMeant(words);
  for (const entry of commands) {
    const command = entry === chosen ? await entry.load() : new Command(entry.name);
    program.addCommand(command.summary(entry.summary).helpGroup(entry.group));
  }
  configure(program);
  return program;
}

/** Errors are thrown and printed here, in one form, also those of commands that have commands of their own. */
function configure(command: Command): void {
  command
    .exitOverride()
    .showSuggestionAfterError()
    .helpOption('-h, --help', 'show help')
    .configureOutput({ outputError: () => {} });
  for (const subcommand of command.commands) configure(subcommand as Command);
}

/**
 * The command that a command line is about: its first word that is no option; after `help`, the second.
 * UsageError when it is about none, or when options stand before a command that does not share them.
 */
function commandMeant(words: readonly string[]): CommandEntry | undefined {
  let index = 0;
  while (index < words.length && words[index]!.startsWith('-')) {
    const option = words[index]!;
    if (option === '--socket') index += 2;
    else if (option === '--json' || option.startsWith('--socket=')) index++;
    // Its help, its version, or an option that commander refuses.
    else return undefined;
  }
  const name = words[index] === 'help' ? words[index + 1] : words[index];
  if (name === undefined) {
    if (words.length === 0 || words[index] === 'help') return undefined;
    throw new UsageError("no command given; 'buri help' lists them");
  }
  const entry = commandNamed(name);
  if (entry === undefined && words[index] === 'help' && !name.startsWith('-')) {
    throw new UsageError(`there is no command '${name}'; 'buri help' lists them`);
  }
  if (entry?.client === false && index > 0) {
    throw new UsageError(`${words[0]!.split('=')[0]} must stand after '${name}'`);
  }
  return entry;
}

function usageFailure(error: CommanderError): Failure {
  const message = error.message.replace(/^error: /, '');
  return { exitCode: exitUsage, code: 'usage', message: `${message}; --help shows the usage` };
}

async function report(failure: Failure, words: readonly string[]): Promise<void> {
  const end = words.indexOf('--');
  const json = (end < 0 ? words : words.slice(0, end)).includes('--json');
  // When standard output is what failed, it cannot carry the news.
  if (json && failure.code !== 'output-failed') {
    await print(failureJson(failure)).catch(() => {});
  } else process.stderr.write(failureText(failure));
}
