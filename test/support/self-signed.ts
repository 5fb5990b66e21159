/** A certificate of TLS that nobody has signed. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from './server-process.ts';

export function selfSigned(name = 'localhost'): { readonly cert: Buffer; readonly key: Buffer } {
  const place = temporaryDirectory('certificate');
  const cert = join(place, 'cert.pem');
  const key = join(place, 'key.pem');
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const subject = ['-days', '1', '-subj', `/CN=${name}`];
  try {
    const files = ['-keyout', key, '-out', cert];
    execFileSync('openssl', ['req', '-x509', ...kind, ...subject, ...files], { stdio: 'ignore' });
    return { cert: readFileSync(cert), key: readFileSync(key) };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
