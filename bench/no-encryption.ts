/**
 * To be preloaded (`node --import`): this process and its workers get the addon that encrypts nothing in place of the real one, to see
 * what an engine costs without cipher. The program itself has no way to ask for it, and knows nothing of it.
 */
import { fileURLToPath } from 'node:url';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const real = path('../build/buri.node');
const without = path('../build/bench/no-encryption.node');

const load = process.dlopen;
process.dlopen = (module: object, filename: string, flags?: number): void => {
  const chosen = filename === real ? without : filename;
  if (flags === undefined) load.call(process, module, chosen);
  else load.call(process, module, chosen, flags);
};
