/** Certificates of TLS that nobody has signed. */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { temporaryDirectory } from './server-process.ts';

export function selfSigned(name = 'localhost'): { readonly cert: Buffer; readonly key: Buffer } {
  const place = temporaryDirectory('certificate');
  const cert = join(place, 'cert.pem');
  const key = join(place, 'key.pem');
  try {
    writeSelfSigned(name, cert, key);
    return { cert: readFileSync(cert), key: readFileSync(key) };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Writes certificate and key to these files. */
export function writeSelfSigned(name: string, cert: string, key: string): void {
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const subject = ['-days', '1', '-subj', `/CN=${name}`];
  const files = ['-keyout', key, '-out', cert];
  execFileSync('openssl', ['req', '-x509', ...kind, ...subject, ...files], { stdio: 'ignore' });
}

/** Whose certificate a port shows. */
export const commonName = (port: number) =>
  new Promise<string>((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
