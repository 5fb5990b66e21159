import type { FastifyInstance } from 'fastify';
import { BuriError } from '#core/errors.ts';
import {
  type VolunteerLine,
  volunteerPath,
  volunteerRequest,
  volunteerText,
} from '#wire/volunteer.ts';
import type { Volunteer } from './volunteer.ts';

/** A relay that reads no lines is let go. */
const maxUnreadBytes = 1024 * 1024;

/** Adds the route whose answer goes on as long as a relay volunteers. */
export function addVolunteerRoute(server: FastifyInstance, volunteer: Volunteer): void {
  server.post(volunteerPath, async (request, reply) => {
    const parsed = volunteerRequest.safeParse(request.body);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new BuriError(
        'bad-request',
        `${issue?.path.join('.') || 'request'}: ${issue?.message ?? 'malformed'}`,
      );
    }
    const { raw } = reply;
    const waiting: VolunteerLine[] = [];
    let begun = false;
    const write = (line: VolunteerLine) => {
      if (!begun) waiting.push(line);
      else if (raw.writableLength > maxUnreadBytes) raw.destroy();
      else raw.write(`${volunteerText(line)}\n`);
    };
    const end = volunteer.add(parsed.data.offer, write);
    reply.hijack();
    raw.on('close', end).on('error', () => {});
    if (raw.destroyed) end();
    raw.writeHead(200, { 'content-type': 'application/x-ndjson' });
    begun = true;
    for (const line of waiting.splice(0)) write(line);
  });
}
