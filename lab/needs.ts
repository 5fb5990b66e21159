/** Whether this machine can run the laboratory. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { environment } from './exec.ts';

const programs = ['ip', 'nft', 'conntrack', 'sysctl', 'ping'];

/** For `test(name, { skip: labSkipReason() }, …)`: why not, or false when it can. */
export function labSkipReason(): string | false {
  if (process.platform !== 'linux') return 'the lab needs Linux (network namespaces)';
  if (process.getuid?.() !== 0) return 'the lab needs root (network namespaces)';
  if (!existsSync('/proc/self/ns/net')) return 'this kernel has no network namespaces';
  const path = (environment().PATH ?? '').split(':');
  const missing = programs.filter((name) => !path.some((dir) => existsSync(join(dir, name))));
  if (missing.length > 0) return `the lab needs ${missing.join(', ')}`;
  return false;
}
