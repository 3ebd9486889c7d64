import { errorMessage } from '../errors.ts';
import { LEAD_LOCK, type Lease, leaseLock } from '../store/jobs.ts';

export interface LeaderOptions {
  /** The database's URL: whoever holds its lock `scheduler` leads. */
  url: string;
  log: (level: 'INFO' | 'WARNING' | 'ERROR', message: string) => void;
  /** The lead was taken; the signal fires when it is lost. */
  onLead?: (lost: AbortSignal) => void;
  /** Another process leads. */
  onStandby?: () => void;
}

/** Of all processes that serve a database the one that runs its jobs. */
export interface Leader {
  isLeader(): boolean;
  /** Fires when the lead that is held now is lost; undefined while it is not held. */
  lost(): AbortSignal | undefined;
  /** Gives the lead away. */
  stop(): Promise<void>;
}

const RETRY_MS = 5_000;
/** Whoever lost the lead with its connection lets the others go first. */
const RETRY_AFTER_LOSS_MS = 8_000;

/**
 * Tries to take the lead, again and again. PostgreSQL lets go of the lock when the process or its
 * connection dies, and another process takes over.
 */
export function startLeader(options: LeaderOptions): Leader {
  const candidate = new Candidate(options);
  void candidate.lead();
  return {
    isLeader: () => candidate.lease !== undefined,
    lost: () => candidate.lease?.lost,
    stop: () => candidate.stop(),
  };
}

class Candidate {
  lease: Lease | undefined;
  #isStopped = false;
  #timer: Timer | undefined;

  constructor(readonly options: LeaderOptions) {}

  async lead(): Promise<void> {
    if (this.#isStopped) return;
    const { url, log, onStandby } = this.options;
    let lease: Lease | undefined;
    try {
      lease = await leaseLock(url, LEAD_LOCK);
    } catch (error) {
      log('WARNING', `cannot take the lead: ${errorMessage(error)}`);
    }
    if (this.#isStopped) await lease?.release();
    else if (lease) this.#hold(lease);
    else {
      onStandby?.();
      this.#timer = setTimeout(() => void this.lead(), RETRY_MS);
    }
  }

  #hold(lease: Lease): void {
    const { log, onLead } = this.options;
    this.lease = lease;
    lease.lost.addEventListener('abort', () => {
      if (this.lease !== lease) return;
      this.lease = undefined;
      log('WARNING', 'lost the lead with the connection to the database');
      lease.release().catch((error) => log('WARNING', errorMessage(error)));
      this.#timer = setTimeout(() => void this.lead(), RETRY_AFTER_LOSS_MS);
    });
    onLead?.(lease.lost);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    const { lease } = this;
    this.lease = undefined;
    await lease?.release();
  }
}
