import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** The path of `native/NAME.c` as a program, compiled when it is newer. */
export function compiledTool(name: string): string {
  const source = path(`./native/${name}.c`);
  const output = path(`../build/bench/${name}`);
  if (!existsSync(output) || statSync(output).mtimeMs < statSync(source).mtimeMs) {
    mkdirSync(path('../build/bench'), { recursive: true });
    execFileSync(process.env.CC ?? 'cc', ['-O2', '-Wall', '-o', output, source]);
  }
  return output;
}

/**
 * The addon as it is, but for OpenSSL's ciphers: `native/no-aead.c` stands in for them and encrypts nothing. Returns the path. Nothing but
 * `bench/no-encryption.ts` loads it.
 */
export function compiledWithoutEncryption(): string {
  const output = path('../build/bench/no-encryption.node');
  const words = [path('../scripts/native.mjs'), output, path('./native/no-aead.c')];
  execFileSync(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'] });
  return output;
}
