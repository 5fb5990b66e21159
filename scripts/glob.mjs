import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Files below `directory` whose names end in `ending`, sorted (Node 18 has no glob of its own). */
export function globSync(directory, ending) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) return globSync(path, ending);
      return entry.name.endsWith(ending) ? [path] : [];
    })
    .sort();
}
