/// <reference types="node" />

import type { ChildProcess } from 'node:child_process';
import type {
  Address as NodeAddress,
  Cluster as NodeCluster,
  ClusterSettings as NodeClusterSettings,
  Worker as NodeWorker,
} from 'node:cluster';
import type { EventEmitter } from 'node:events';
import type { Server, Socket } from 'node:net';

/**
 * Node's `cluster`, with a primary that runs in Rust.
 *
 * Members without a description are Node's: https://nodejs.org/api/cluster.html
 */
declare const cluster: cluster.Cluster & cluster.WithWorker;

declare namespace cluster {
  type Address = NodeAddress;

  interface ClusterSettings extends NodeClusterSettings {
    /**
     * How many accepted connections of one server may wait for a worker. At the bound the primary accepts no
     * more, and the kernel's backlog takes over.
     * @default 1024
     */
    maxPendingConnections?: number | undefined;

    /**
     * The largest frame, in bytes, that a worker may send on its channel, or to another worker. A larger one
     * ends that channel with an 'error' event of the worker, with the code `ERR_CORRAL_FRAME_TOO_LARGE`.
     * @default 536870912 (512 MiB)
     */
    maxFrameSize?: number | undefined;

    /**
     * Which worker gets a connection that the primary has accepted (`SCHED_RR`). `'round-robin'`: the next in
     * turn, busy or not; connections that wait for a blocked worker are recalled and given to others.
     * `'one-queue'`: one that is idle, in turn; while all are busy the connection waits in the primary for the
     * first that is not. Set it before the first fork; it applies to workers that load corral.
     * @default 'round-robin'
     */
    schedulingPolicy?: 'round-robin' | 'one-queue' | undefined;

    /** As in `child_process.spawn`: the workers lead process groups of their own. */
    detached?: boolean | undefined;

    /** As in `child_process.spawn`: aborting kills the workers that were forked with it. */
    signal?: AbortSignal | undefined;

    /**
     * The signal that an aborted `signal` sends.
     * @default 'SIGTERM'
     */
    killSignal?: NodeJS.Signals | number | undefined;
  }

  /**
   * In the primary, 'error' says why the channel was closed: the worker broke the protocol
   * (`ERR_CORRAL_BAD_FRAME`) or sent more than `maxFrameSize` (`ERR_CORRAL_FRAME_TOO_LARGE`). It is a process
   * warning if nobody listens. docs/errors.md has all codes.
   */
  interface Worker extends NodeWorker {
    /**
     * Whether the worker left voluntarily; undefined until it has left or was asked to.
     * @deprecated Its name before Node 6. Use `exitedAfterDisconnect`.
     */
    readonly suicide?: boolean;

    /**
     * Sends a request to the other side of this worker's channel, which answers with `respond`. Both sides
     * must have loaded corral. Rejects with the responder's error, ERR_CORRAL_NO_HANDLER without a responder,
     * ERR_CORRAL_REQUEST_TIMEOUT, AbortError, ERR_CORRAL_NO_REPLY if the channel closes first, or the error
     * of a message that could not be sent.
     */
    request?(message: any, options?: RequestOptions): Promise<any>;

    /**
     * Answers the other side's requests.
     * @param responder its result, or the result of its promise, is the reply
     */
    respond?(responder: Responder<Worker> | undefined): Worker;
  }

  interface RequestOptions {
    /** How long to wait, in milliseconds. Default: no limit. */
    timeout?: number | undefined;
    signal?: AbortSignal | undefined;
  }

  type Responder<From> = (this: From, message: any, handle?: any) => any;

  /**
   * Another worker, which a worker that has loaded corral gets from `cluster.workerById`. The two have a
   * socket of their own, without the primary in between. It never keeps a worker alive.
   */
  interface Peer extends EventEmitter {
    readonly id: number;
    /** Whether there is a socket to it. Messages that are sent before wait for the socket. */
    readonly connected: boolean;
    readonly connecting: boolean;
    /**
     * As `worker.send`, with handles. Without a callback, an error is an 'error' event, or a warning if
     * nobody listens. ERR_CORRAL_NO_SUCH_WORKER: the worker does not exist, or has not loaded corral.
     * ERR_CORRAL_NO_LANE: this worker has no lane, and so cannot reach others.
     * @returns false when the other worker is behind
     */
    send(message: any, callback?: (error: Error | null) => void): boolean;
    send(message: any, handle: any, callback?: (error: Error | null) => void): boolean;
    send(
      message: any,
      handle: any,
      options?: { keepOpen?: boolean },
      callback?: (error: Error | null) => void,
    ): boolean;
    /** As `worker.request`. */
    request(message: any, options?: RequestOptions): Promise<any>;
    /** Answers this worker's requests. `cluster.respond` answers those of all workers. */
    respond(responder: Responder<this> | undefined): this;
    on(event: 'message', listener: (message: any, handle: any) => void): this;
    on(event: 'disconnect', listener: () => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
    on(event: string | symbol, listener: (...args: any[]) => void): this;
  }

  interface WorkerOptions {
    id?: number | undefined;
    process?: ChildProcess | undefined;
    state?: string | undefined;
  }

  interface WorkerConstructor {
    new (options?: WorkerOptions): Worker;
    readonly prototype: Worker;
  }

  interface WithWorker {
    readonly Worker: WorkerConstructor;
  }

  /** A connection that a worker has taken. Properties that a server on a path does not have are null. */
  interface ConnectionInfo {
    /** The key under which the primary keeps the server; the same for all connections of one server. */
    key: string;
    /** The address or the path where the server listens. */
    address: string;
    /** The port where the server listens. */
    port: number | null;
    family: 'IPv4' | 'IPv6' | null;
    /** The address of the client. */
    remoteAddress: string | null;
    /** The port of the client. */
    remotePort: number | null;
  }

  /** What the primary has counted of a server since it was opened. */
  interface ServerStats {
    /** As in ConnectionInfo. */
    key: string;
    /**
     * The address or the path where the server listens; empty for a server with `reusePort` that listens on
     * all addresses.
     */
    address: string;
    /** The port where the server listens; null for a path. */
    port: number | null;
    /** The ids of the workers that take part, in the order in which they came. */
    workers: number[];
    /** Connections that wait in the primary now. */
    pending: number;
    /** Connections that the primary has accepted; 0 where workers accept themselves. */
    accepted: number;
    /** Connections that a worker has taken. */
    dispatched: number;
    /** How often a worker refused a connection. */
    refused: number;
    /** How often a connection was taken back from a worker that did not receive it. */
    recalled: number;
    /** Whether accepting pauses now: at the bound, or without file descriptors. */
    paused: boolean;
  }

  /** What the primary has counted of a worker since it was forked. */
  interface WorkerStats {
    id: number;
    pid: number | undefined;
    /** 'none', 'online', 'listening' or 'disconnected' */
    state: string;
    /** How connections travel to it. */
    lane: 'lane' | 'channel';
    /** Why they travel on the channel. */
    laneReason: string | null;
    /**
     * Whether its messages travel between two corrals: it has loaded corral, and its channel has moved over
     * to a socket of theirs. It takes the same time as the lane to come into use.
     */
    moved: boolean;
    /** Whether it receives nothing at present, so that others get its connections. Only known of a lane. */
    stalled: boolean;
    /** How often the worker received nothing, so that others got its connections. Only known of a lane. */
    stalls: number;
    /** Connections that the worker has taken. */
    dispatched: number;
    /** Connections on their way to the worker now. */
    inFlight: number;
    /** Connections that the worker has refused. */
    refused: number;
    /** Connections that were taken back from the worker. */
    recalled: number;
    /** Messages that this side's program has sent. */
    messagesSent: number;
    /** Bytes of the messages that this side's program has sent. */
    bytesSent: number;
    /** Messages that the other side's program has sent. */
    messagesReceived: number;
    /** Bytes of the messages that the other side's program has sent. */
    bytesReceived: number;
    /** Bytes that wait to be written to the other side. */
    queuedBytes: number;
  }

  interface Stats {
    /** The servers that are open. */
    servers: ServerStats[];
    /** The workers whose channel is open. */
    workers: WorkerStats[];
  }

  interface ClusterEventMap {
    disconnect: [worker: Worker];
    exit: [worker: Worker, code: number, signal: string];
    fork: [worker: Worker];
    listening: [worker: Worker, address: Address];
    message: [worker: Worker, message: any, handle: Socket | Server];
    online: [worker: Worker];
    setup: [settings: ClusterSettings];
    /**
     * corral's own, in the primary: a worker has taken a connection. It costs nothing while nobody listens.
     */
    connection: [worker: Worker, connection: ConnectionInfo];
    /**
     * corral's own, in the primary: a fault that concerns no single worker. It is a process warning if nobody
     * listens. After `ERR_CORRAL_REACTOR_GONE` nothing is served any more.
     */
    error: [error: Error];
  }

  /**
   * Node's cluster object has a `Worker`, but only newer versions of @types/node declare it. Declaring it in
   * the same versions keeps their Cluster and this one assignable to each other.
   */
  type AsNodeTypesHaveIt = NodeCluster extends { Worker: unknown } ? WithWorker : object;

  interface Cluster extends EventEmitter, AsNodeTypesHaveIt {
    /**
     * In the primary: whether corral's core is in use. False without a binary: this is then Node's own
     * cluster, without corral's additions, and there was one warning, `CORRAL_NO_NATIVE`. Undefined on a
     * cluster that is not corral's.
     */
    readonly native?: boolean;

    /** In the primary, while `native`: the counters so far. The call is cheap and disturbs no connection. */
    stats?(): Stats;

    /**
     * In the primary, while `native`: sends a message to all workers. In a worker that has loaded corral:
     * sends it to all others that have, without the primary. They get it as a 'message' event of their
     * cluster, `(peer, message)`.
     * @param callback called when the message has been sent to all, or with the first error
     */
    broadcast?(message: any, callback?: (error: Error | null) => void): void;

    /** In a worker that has loaded corral: another worker, for messages without the primary. */
    workerById?(id: number): Peer;

    /** In a worker that has loaded corral: answers the requests of other workers. */
    respond?(responder: Responder<Peer> | undefined): void;

    readonly isPrimary: boolean;
    /** @deprecated Use `isPrimary`. */
    readonly isMaster: boolean;
    readonly isWorker: boolean;

    /** In a worker: this worker. */
    readonly worker?: Worker;
    /** In the primary: the workers that are alive or not yet disconnected, by their ids. */
    readonly workers?: NodeJS.Dict<Worker>;

    readonly settings: ClusterSettings;
    /** May be set until the first fork or `setupPrimary()`. */
    schedulingPolicy: number;
    readonly SCHED_NONE: number;
    readonly SCHED_RR: number;

    /** @param env additions to the primary's environment */
    fork(env?: any): Worker;
    setupPrimary(settings?: ClusterSettings): void;
    /** @deprecated Use `setupPrimary`. */
    setupMaster(settings?: ClusterSettings): void;
    /** @param callback called when all workers have disconnected; Node calls it at the first one */
    disconnect(callback?: () => void): void;

    addListener<E extends keyof ClusterEventMap>(event: E, listener: Listener<E>): this;
    addListener(event: string | symbol, listener: (...args: any[]) => void): this;
    on<E extends keyof ClusterEventMap>(event: E, listener: Listener<E>): this;
    on(event: string | symbol, listener: (...args: any[]) => void): this;
    once<E extends keyof ClusterEventMap>(event: E, listener: Listener<E>): this;
    once(event: string | symbol, listener: (...args: any[]) => void): this;
    prependListener<E extends keyof ClusterEventMap>(event: E, listener: Listener<E>): this;
    prependListener(event: string | symbol, listener: (...args: any[]) => void): this;
    prependOnceListener<E extends keyof ClusterEventMap>(event: E, listener: Listener<E>): this;
    prependOnceListener(event: string | symbol, listener: (...args: any[]) => void): this;
    emit<E extends keyof ClusterEventMap>(event: E, ...args: ClusterEventMap[E]): boolean;
    emit(event: string | symbol, ...args: any[]): boolean;
  }

  type Listener<E extends keyof ClusterEventMap> = (...args: ClusterEventMap[E]) => void;
}

export = cluster;
