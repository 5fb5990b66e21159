/** What the server counts, as Prometheus reads it. Values are looked up when somebody asks. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** What is asked of the running server at each look. */
export interface MetricSources {
  readonly connections: () => number;
  readonly clientsOnline: () => number;
  readonly commitsWaiting: () => number;
  /** Things that were dropped or refused, by name; they only go up. */
  readonly faults: () => ReadonlyMap<string, number>;
  readonly stun: () => Readonly<Record<string, number>>;
  readonly fabric: () => Readonly<Record<string, number>>;
  readonly nodes: () => number;
  readonly ready: () => boolean;
}

const logins = ['granted', 'refused'] as const;

export class Metrics {
  readonly #registry = new Registry();
  readonly #logins: Counter<'outcome'>;
  readonly #requests: Histogram<'outcome'>;
  #sources: MetricSources | undefined;

  constructor(version: string) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    new Gauge({
      ...{ name: 'buri_build_info', help: 'Version of the server', registers },
      labelNames: ['version'],
    })
      .labels(version)
      .set(1);
    this.#logins = new Counter({
      ...{ name: 'buri_logins_total', help: 'Logins of devices and relays', registers },
      labelNames: ['outcome'],
    });
    for (const outcome of logins) this.#logins.inc({ outcome }, 0);
    this.#requests = new Histogram({
      name: 'buri_message_seconds',
      help: 'From a message of a client to the end of its work, the commit included',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
      labelNames: ['outcome'],
      registers,
    });
    this.#gauge('buri_connections', 'Control connections', (s) => s.connections());
    this.#gauge('buri_clients_online', 'Clients connected to this node', (s) => s.clientsOnline());
    this.#gauge('buri_commits_waiting', 'Work that waits for the database', (s) =>
      s.commitsWaiting(),
    );
    this.#gauge('buri_nodes', 'Other nodes that live', (s) => s.nodes());
    this.#gauge('buri_ready', '1 when clients can be served', (s) => (s.ready() ? 1 : 0));
    this.#counted('buri_faults_total', 'What was dropped or refused', 'fault', (s) =>
      Object.fromEntries(s.faults()),
    );
    this.#counted('buri_stun_total', 'STUN requests', 'outcome', (s) => s.stun());
    this.#counted('buri_fabric_parcels_total', 'Parcels between nodes', 'outcome', (s) =>
      s.fabric(),
    );
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The server runs from now on. */
  attach(sources: MetricSources): void {
    this.#sources = sources;
  }

  login(outcome: (typeof logins)[number]): void {
    this.#logins.inc({ outcome });
  }

  worked(seconds: number, outcome: 'done' | 'failed'): void {
    this.#requests.observe({ outcome }, seconds);
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #gauge(name: string, help: string, read: (sources: MetricSources) => number): void {
    const sources = () => this.#sources;
    new Gauge({
      ...{ name, help, registers: [this.#registry] },
      collect() {
        const found = sources();
        if (found !== undefined) this.set(read(found));
      },
    });
  }

  /** Counters that are kept elsewhere. */
  #counted(
    name: string,
    help: string,
    label: string,
    read: (sources: MetricSources) => Readonly<Record<string, number>>,
  ): void {
    const sources = () => this.#sources;
    new Counter({
      ...{ name, help, labelNames: [label], registers: [this.#registry] },
      collect() {
        const found = sources();
        if (found === undefined) return;
        this.reset();
        for (const [key, value] of Object.entries(read(found))) this.inc({ [label]: key }, value);
      },
    });
  }
}
