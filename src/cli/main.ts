/** Where `bin/buri` starts. */
import { run } from './program.ts';

// A reader of either stream that goes away ends the output, not the program.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

process.exitCode = await run(process.argv.slice(2));
