/// <reference types="node" />

import type { ChildProcess } from 'node:child_process';
import type {
  Address as NodeAddress,
  Cluster as NodeCluster,
  ClusterSettings as NodeClusterSettings,
  Worker as NodeWorker,
} from 'node:cluster';
import type { EventEmitter } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';

/**
 * Node's `cluster`, with a primary that runs in Rust.
 *
 * Members without a description are Node's: https://nodejs.org/api/cluster.html
 */
declare const cluster: cluster.Cluster & cluster.WithWorker;

declare namespace cluster {
  type Address = NodeAddress;

  /**
   * `'one-queue'`: a connection goes to a worker that is idle, in turn; while all are busy it waits in the
   * primary for the first that is not. `'round-robin'`: the next in turn, busy or not; connections that wait for
   * a blocked worker are recalled and given to others. `'least'`: the one with the fewest open connections that is
   * not blocked. `'sticky'`: a client's connections go to the same worker, known by its address. `'none'`: the
   * workers accept by themselves from a socket that they share. `'reuse-port'`: each worker accepts from a socket of
   * its own, which the primary keeps; the kernel shares the connections among them, and the primary accepts in the
   * place of workers that do not.
   */
  type PolicyName = 'one-queue' | 'round-robin' | 'least' | 'sticky' | 'reuse-port' | 'none';

  /** A policy: its name, an object with its name and its options, or one of the program's own. */
  type Policy = PolicyName | { name: Exclude<PolicyName, 'sticky'> } | StickyPolicy | OwnPolicy | PolicyTable;

  /** A client's connections go to the same worker (`SCHED_STICKY`). See docs/policies.md. */
  interface StickyPolicy {
    name: 'sticky';

    /**
     * By what a client is known. `'ip'`: the address from which it connects (an IPv6 address by its first 64
     * bits). `'proxy'`: the address in the header of the PROXY protocol, version 1 or 2. `forwarded`: the
     * address at this place of `X-Forwarded-For`, counted from the right, from 1. `header`, `cookie`, `query`:
     * what a header, a cookie or a parameter of the query of this name says; the worker that begins such a
     * session has its connections.
     * @default 'ip'
     */
    by?:
      | 'ip'
      | 'proxy'
      | { forwarded: number }
      | { header: string }
      | { cookie: string }
      | { query: string }
      | undefined;

    /**
     * How many bytes of a connection are looked at, at most, from 128 to 65,536. A client that has not said who
     * it is within them is known by its address.
     * @default 8192
     */
    maxHeadSize?: number | undefined;

    /**
     * For how many milliseconds the first bytes are waited for, from 1 to 60,000. The client is known by its
     * address then.
     * @default 2000
     */
    deadline?: number | undefined;
  }

  /** A policy that decides where one of the program's own does not. */
  type FallbackPolicy = 'one-queue' | 'round-robin' | 'least';

  /** A connection that waits for a policy of the program's own. */
  interface IncomingConnection {
    /** The key under which the primary keeps the server. */
    key: string;
    /** The address or the path where the server listens. */
    address: string;
    /** The port where the server listens; null for a path. */
    port: number | null;
    /** The address of the client; null for a path. */
    remoteAddress: string | null;
    /** The port of the client. */
    remotePort: number | null;
  }

  /**
   * A policy in JavaScript. Each connection costs the primary an event and a command; it waits for the answer of
   * `pick`. See docs/policies.md.
   */
  interface OwnPolicy {
    /** Any that no policy of corral's has. */
    name: string;
    /**
     * The worker that gets the connection: one of `workers`, its id, a promise of that, or nothing, and then
     * `fallback` decides. So it does if this throws or rejects, which is an 'error' event of the cluster.
     */
    pick(
      connection: IncomingConnection,
      workers: Worker[],
    ): Worker | number | null | undefined | PromiseLike<Worker | number | null | undefined>;
    /**
     * For how many milliseconds a connection waits for an answer, 1 to 60000, before `fallback` decides.
     * @default 100
     */
    deadline?: number | undefined;
    /** @default 'one-queue' */
    fallback?: FallbackPolicy | undefined;
  }

  /** A policy that a program writes ahead: whose the connections of a client are. Made by `cluster.policyTable`. */
  interface PolicyTable {
    readonly name: 'table';
    readonly fallback: FallbackPolicy;
    /**
     * New connections of the client at this IP address are for this worker from now on; without one, `fallback`
     * decides. No connection waits for JavaScript.
     */
    assign(address: string, worker?: Worker | number | null): void;
  }

  /**
   * Policies by servers. A key is a port (as the program asks for it: 0 is any that the kernel chooses), an
   * address with a port (`'127.0.0.1:80'`, `'[::1]:80'`; `'0.0.0.0:80'` or `'[::]:80'` for a server on all
   * addresses), or a path with a slash.
   */
  interface PolicyByServer {
    [server: string | number]: Policy | undefined;
    /** The policy of all other servers. */
    default?: Policy | undefined;
    /** What has a name is a policy. */
    name?: never;
  }

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
     * Which worker gets a connection: a policy for all servers, or one for each. It decides instead of
     * `cluster.schedulingPolicy`. A change applies to new connections, also of servers that are open, as long
     * as the primary accepts before and after it. See docs/policies.md.
     * @default what `cluster.schedulingPolicy` says; with `SCHED_RR`, 'one-queue'
     */
    schedulingPolicy?: Policy | PolicyByServer | undefined;

    /**
     * Which worker gets the next request on a connection that is kept alive. `'stay'`: the one that has the
     * connection. `'balance'`: that one if it begins to read the request at once, otherwise one that is idle, which
     * has the connection from then on. It holds for connections of `http.Server`s in workers that load corral, on
     * Linux, and not for those of which a program has taken hold (see docs/keep-alive.md). Set it before the first
     * fork.
     * @default 'stay'
     */
    keepAlive?: 'stay' | 'balance' | undefined;

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
     * In the primary: how many new connections this worker gets in comparison with the others, an integer from
     * 0 to 65535. With 0 it gets none; what it has stays. A change applies at once. It has no effect where the
     * workers accept by themselves. See docs/policies.md.
     * @default 1
     */
    weight: number;

    /**
     * In the primary, while somebody observes the cluster: that this worker's event loop does not turn, and what it does
     * instead; undefined otherwise.
     */
    readonly blocked?: Block | undefined;

    /**
     * Sends a request to the other side of this worker's channel, which answers with `respond`. Both sides
     * must have loaded corral. Rejects with the responder's error, ERR_CORRAL_NO_HANDLER without a responder,
     * ERR_CORRAL_REQUEST_TIMEOUT, AbortError, ERR_CORRAL_NO_REPLY if the channel closes first, or the error
     * of a message that could not be sent.
     */
    request(message: any, options?: RequestOptions): Promise<any>;

    /**
     * Answers the other side's requests.
     * @param responder its result, or the result of its promise, is the reply
     */
    respond(responder: Responder<Worker> | undefined): Worker;

    /**
     * As Node's, with a deadline if the worker has loaded corral. Called once more it sets a deadline, or brings it
     * forward. Throws ERR_INVALID_ARG_TYPE or ERR_OUT_OF_RANGE for a `drain` or `idle` that is no number of milliseconds, and
     * ERR_INVALID_ARG_VALUE for `idle` alone.
     * @returns this worker (a `this` here would keep what `fork` returns from being a Worker that was imported by name)
     */
    disconnect(options?: DisconnectOptions): any;
  }

  interface DisconnectOptions {
    /**
     * How long the worker may finish what is under way, in milliseconds. Until then its answers over HTTP/1.1 say
     * `Connection: close`, and http2 takes no new streams; then all connections that its servers have accepted are
     * destroyed. Without it a worker stays as long as any client likes.
     */
    drain?: number | undefined;
    /**
     * For how long a kept connection of an `http.Server` may be without a request before it is closed, in milliseconds. Its next request is
     * answered, and that is the last one there. Only together with `drain`.
     * @default 0: it is closed at once
     */
    idle?: number | undefined;
  }

  /** What listeners for 'leaving' of `cluster.worker` get, in a worker that has loaded corral. See docs/leaving.md. */
  interface Leaving {
    /**
     * `'disconnect'`: `worker.disconnect()` or `cluster.disconnect()`, on either side. `'kill'`: `worker.kill()` in the
     * worker. `'primary-gone'`: the primary has ended. `'channel-closed'`: `process.disconnect()`, on either side, or
     * the primary has closed the channel. With the last three the process ends when the listeners have returned.
     */
    reason: 'disconnect' | 'kill' | 'primary-gone' | 'channel-closed';
    /** The deadline with which it was asked to leave, in milliseconds from now. */
    drain?: number;
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

  /**
   * Messages and requests under one name, which nobody hears who uses another one. Both sides must have loaded corral.
   * What it sends keeps its order among all that this process sends to the same other one. See docs/libraries.md.
   */
  interface Channel<Message = any, Reply = any> extends EventEmitter {
    readonly name: string;
    /**
     * @param to a worker, or its id. In a worker also `'primary'` (or `cluster.worker`), and a Peer
     * @param callback called when the message has been sent, or with an error. Without it, an error is an 'error' event, or
     * a warning if nobody listens
     * @returns false when the other side is behind
     */
    send(to: ChannelTarget, message: Message, callback?: (error: Error | null) => void): boolean;
    /** Sends to all workers, in a worker to all others, that have a channel of this name. */
    broadcast(message: Message, callback?: (error: Error | null) => void): void;
    /** As `worker.request`. A worker that has not loaded corral never answers: give a `timeout` where there may be one. */
    request(to: ChannelTarget, message: Message, options?: RequestOptions): Promise<Reply>;
    /**
     * Answers the requests of others on this channel. Throws ERR_CORRAL_RESPONDER_EXISTS if somebody does so already;
     * `respond(undefined)` removes that one.
     */
    respond(responder: ((message: Message, from: Worker | Peer) => Reply | Promise<Reply>) | undefined): this;
    /**
     * Asks all workers, in a worker all others, that answer on this channel. Resolves when all have answered or gone, and
     * at the latest when the time is up; rejects with AbortError.
     * @param options `timeout` is 5,000 ms by default
     */
    gather(message: Message, options?: RequestOptions): Promise<Gathered<Reply>>;
    /** Gives the channel up in this process, for all who have it here. Everything but `close` then throws ERR_IPC_CHANNEL_CLOSED. */
    close(): void;
    /** A worker gets `cluster.worker` as `from` for the primary. */
    on(event: 'message', listener: (from: Worker | Peer, message: Message) => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
    on(event: string | symbol, listener: (...args: any[]) => void): this;
    once(event: 'message', listener: (from: Worker | Peer, message: Message) => void): this;
    once(event: 'error', listener: (error: Error) => void): this;
    once(event: string | symbol, listener: (...args: any[]) => void): this;
  }

  type ChannelTarget = number | 'primary' | Worker | Peer;

  /** What `gather` has got. Each worker that was asked is in one list, but for those that answer nothing on the channel. */
  interface Gathered<Reply> {
    replies: { id: number; reply: Reply }[];
    /** Whose responder has failed, or whom the question could not be sent. */
    failed: { id: number; error: Error }[];
    /** Those that have gone before they answered. */
    gone: number[];
    /** Those that had not answered when the time was up. */
    late: number[];
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

  /**
   * A connection that a worker has taken, or several: those that it took while thousands of events waited for
   * a busy program are told together. Properties that a server on a path, or several connections, do not have
   * are null.
   */
  interface ConnectionInfo {
    /** The key under which the primary keeps the server; the same for all connections of one server. */
    key: string;
    /** The address or the path where the server listens. */
    address: string;
    /** The port where the server listens. */
    port: number | null;
    /** How many connections; 1 unless the program was busy. */
    count: number;
    family: 'IPv4' | 'IPv6' | null;
    /** The address of the client. */
    remoteAddress: string | null;
    /** The port of the client. */
    remotePort: number | null;
  }

  /** A worker's part of a server. */
  interface ServerLoad {
    /** The worker's id. */
    worker: number;
    /** Its `weight`. */
    weight: number;
    /** How many connections it has open, where it counts them: it does under the policy `'least'`, also as a fallback. */
    open: number | null;
    /** How often it was chosen for a connection, or was the first that had time for one. */
    decisions: number;
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
    /** The name of its policy; 'none' where workers accept themselves. */
    policy: string;
    /** Why it is not the one that was asked for, or costs more than it should. */
    policyReason: string | null;
    /** The ids of the workers that take part, in the order in which they came. */
    workers: number[];
    /** What each of them has of it, in the same order. */
    load: ServerLoad[];
    /** Connections that wait in the primary now. */
    pending: number;
    /** Connections that the primary has accepted; where workers accept themselves, in the place of some. */
    accepted: number;
    /** Connections that a worker has taken. */
    dispatched: number;
    /** How often a worker refused a connection. */
    refused: number;
    /** How often a connection was taken back from a worker that did not receive it. */
    recalled: number;
    /** How often a kept connection went to another worker with its next request. */
    rebalanced: number;
    /** Connections whose first bytes are awaited now. */
    firstBytesAwaited: number;
    /** Connections whose first bytes named their client: a session, or an address. */
    stickyByKey: number;
    /** Connections whose client was known by the address from which it has connected. */
    stickyByAddress: number;
    /** The same, since it had not sent enough in time. */
    stickyByDeadline: number;
    /** Connections that named no session, so that any worker could have them. */
    stickyWithoutSession: number;
    /** Connections that went to any worker, since too many waited for their own. */
    strayed: number;
    /** Connections for which a policy of the program's own had no answer by its deadline. */
    unanswered: number;
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
     * How the primary knows that it is idle, which `'one-queue'` asks. `'pulse'`: it shows what it does, and the
     * kernel whether its event loop waits. `'kernel'`: the kernel shows whether its main thread waits for
     * events. `'in-flight'`: nobody tells, and it counts as idle while no connection is on its way to it.
     */
    idleBy: 'pulse' | 'kernel' | 'in-flight';
    /** Why not by its pulse. */
    idleReason: string | null;
    /** Why its kept connections stay with it, where `keepAlive: 'balance'` cannot be. */
    keepAliveReason: string | null;
    /**
     * Whether its messages travel between two corrals: it has loaded corral, and its channel has moved over
     * to a socket of theirs. It takes the same time as the lane to come into use.
     */
    moved: boolean;
    /**
     * Whether it receives nothing at present, so that others get its connections. Only known of a lane, and of a
     * socket of the worker's own (`'reuse-port'`).
     */
    stalled: boolean;
    /** How often its event loop has begun to wait for events; null where it does not show that (see `idleBy`). */
    turns: number | null;
    /**
     * How often the worker received nothing, so that others got its connections. Only known of a lane, and of a
     * socket of the worker's own.
     */
    stalls: number;
    /** Connections that the worker has taken. */
    dispatched: number;
    /** Connections on their way to the worker now. */
    inFlight: number;
    /** Connections that the worker has refused. */
    refused: number;
    /** Connections that the primary has accepted in the worker's place, from the worker's own socket. */
    rescued: number;
    /** Connections that were taken back from the worker. */
    recalled: number;
    /** Connections that the worker keeps between requests, and that may go to another with the next one. */
    kept: number;
    /** How often a connection that the worker had kept went to another worker. */
    rebalanced: number;
    /** How often the worker has said that a session is its own. */
    sessions: number;
    /** How often a session of the worker was forgotten, since it has begun too many. */
    sessionsForgotten: number;
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

  /**
   * When a worker counts as ready. `'listening'`: it listens; if it takes the place of one that serves, at as many addresses as that one does.
   * `'message'`: it has called `process.send('ready')`; before that it gets no connections. `'online'`: it runs. A URL: a GET there is answered with a
   * status from 200 to 399; it is asked every `interval` milliseconds (250), and it must lead to this worker alone. A function: its promise has
   * resolved; with false, or if it rejects, the worker has failed.
   */
  type Readiness =
    | 'listening'
    | 'message'
    | 'online'
    | { url: string | ((worker: Worker, slot: number) => string); interval?: number | undefined }
    | ((worker: Worker, slot: number) => unknown);

  /** Options of `cluster.supervise`. Durations are in milliseconds. See docs/running.md. */
  interface SuperviseOptions {
    /** @default os.availableParallelism() */
    workers?: number | undefined;
    /** Additions to the environment of a worker, or a function of its slot that returns them, called for each. */
    env?: NodeJS.ProcessEnv | ((slot: number) => NodeJS.ProcessEnv) | undefined;
    /** @default 'listening' */
    ready?: Readiness | undefined;
    /** At how many addresses a worker listens that is ready and takes the place of none that serves. @default 1 */
    servers?: number | undefined;
    /** Within which a worker must be ready. @default 60000 */
    readyTimeout?: number | undefined;
    /** How many workers more than usual there may be while one is replaced. With 0 the old one goes first. @default 1 */
    surge?: 0 | 1 | undefined;
    /** How long a new worker is watched before the old one is asked to leave. @default 1000 */
    minUptime?: number | undefined;
    /** As of `worker.disconnect`. @default 30000 */
    drain?: number | undefined;
    /** As of `worker.disconnect`. @default 5000 */
    idle?: number | undefined;
    /** How long a worker may live that was sent SIGTERM. @default 30000 */
    killTimeout?: number | undefined;
    /** When a worker is replaced although nothing is wrong with it. */
    recycle?: RecycleOptions | undefined;
    /** How long the event loop of a worker may not turn before it is ended. Infinity for ever. @default 30000 */
    hungAfter?: number | undefined;
    /** Sent to such a worker, SIGKILL after 1 s. @default 'SIGTERM' */
    hungSignal?: NodeJS.Signals | undefined;
    /** Whether the primary's process listens for SIGTERM, SIGINT, SIGHUP, SIGTTIN and SIGTTOU. @default true */
    signals?: boolean | undefined;
    /**
     * Whether a service manager that has started this process (systemd) is told what it does, and the sockets that it has opened are
     * adopted. Takes the variables for that out of the environment. With a promise nothing is told before that has resolved. @default true
     */
    systemd?: boolean | Promise<unknown> | undefined;
    /** Whether stderr of workers goes through the primary, which keeps the last lines. @default not on a terminal */
    captureStderr?: boolean | undefined;
  }

  interface RecycleOptions {
    /** For how long it may have been ready, in milliseconds. Up to a tenth less, by chance. */
    age?: number | undefined;
    /** How many connections it may have taken. Up to a tenth less, by chance. */
    connections?: number | undefined;
    /** Its resident memory in bytes, looked at four times a second (Linux). */
    memory?: number | undefined;
    /** The same, and then it is replaced at once: without waiting for its turn, and without the new one being watched for `minUptime`. */
    hardMemory?: number | undefined;
    /** At these times all are replaced, one after the other: five fields as cron has them, in local time (`'0 4 * * *'`). */
    at?: string | undefined;
  }

  /** `'starting'`: it is not ready yet. `'stopping'`: it was told to end at once. `'gone'`: its process has ended. */
  type WorkerLifeState = 'starting' | 'ready' | 'draining' | 'stopping' | 'gone';

  /** A worker of a supervisor. */
  interface SupervisedWorker {
    /** The number of its place, from 0. Its replacement has the same. */
    slot: number;
    /** As of `worker.id`; null if it could not be started. */
    id: number | null;
    pid: number | null;
    state: WorkerLifeState;
  }

  interface ReloadResult {
    /** Workers that were started since have this number. */
    generation: number;
    /** How many workers were replaced. */
    replaced: number;
    /** From the beginning until the last old one had gone. */
    milliseconds: number;
  }

  interface SupervisorStatus {
    state: 'starting' | 'running' | 'reloading' | 'stopping' | 'stopped';
    /** How many workers there are to be. */
    size: number;
    generation: number;
    /** How often a lost worker was started anew. */
    restarts: number;
    reload: { generation: number; done: number; total: number } | null;
    /** `at` is in milliseconds since 1970. */
    lastReload: ({ at: number } & (ReloadResult | { error: string })) | null;
    /** All whose process has not ended. */
    workers: (SupervisedWorker & {
      generation: number;
      /** Since it was forked, in milliseconds. */
      uptime: number;
      /** Its resident memory in bytes; null where nobody tells. */
      rss: number | null;
      /** Connections that it has taken. */
      connections: number | null;
      isStalled: boolean | null;
    })[];
  }

  interface SupervisorEventMap {
    /** All workers are ready for the first time. */
    ready: [];
    /** A worker has changed its state. */
    state: [worker: SupervisedWorker & { was: WorkerLifeState }];
    /** A worker serves no more, and nobody has asked it to leave: what it did, and the last lines of its stderr. */
    crash: [worker: SupervisedWorker & { reason: string; lines: string[] }];
    /** Another will be started in its place, in `delay` milliseconds. */
    respawn: [about: { slot: number; failures: number; delay: number }];
    /** A worker is about to be replaced, by a limit of `recycle`. */
    recycle: [worker: SupervisedWorker & { reason: string }];
    /** A worker was replaced in a reload. */
    reloading: [progress: { generation: number; done: number; total: number }];
    reloaded: [result: ReloadResult];
    reloadFailed: [error: Error];
    /** The last worker has gone. */
    stopped: [];
  }

  /** Made by `cluster.supervise`. */
  interface Supervisor extends EventEmitter {
    /**
     * Resolves when all workers are ready for the first time. Rejects with ERR_CORRAL_START_FAILED if one fails while none has been ready yet: then
     * all are ended, and nothing is supervised. Rejects with ERR_CORRAL_STOPPED if it is stopped before, unless by `stop` or `kill`.
     */
    readonly ready: Promise<void>;
    /**
     * Replaces all workers, one at a time. During another reload it waits for that one. Rejects with ERR_CORRAL_RELOAD_FAILED if a new worker is not
     * ready in time or ends: then those that have not been replaced go on.
     */
    reload(): Promise<ReloadResult>;
    /** Throws ERR_INVALID_ARG_TYPE or ERR_OUT_OF_RANGE for what is no number from 1 to 4096. */
    scale(workers: number): void;
    /** Has all workers finish what they have begun, and leave. Resolves when the last one has gone. */
    stop(): Promise<void>;
    /** The same at once, by SIGKILL. */
    kill(): Promise<void>;
    /**
     * Starts the inspector of the worker in a slot (SIGUSR1) and resolves with its address for a debugger (`ws://127.0.0.1:...`). From then on it does not
     * count as hung. Node's port is 9229 for all workers, unless they are started with `--inspect-port=0` (`inspectPort: 0`). Rejects with
     * ERR_OUT_OF_RANGE for a slot without a worker, and with an Error if the worker does not start it within 5 s, or its stderr is not captured.
     */
    inspect(slot: number): Promise<string>;
    /** Another process is the service from now on: its manager is told (`MAINPID=`), and nothing more by this one. */
    succeededBy(pid: number): void;
    status(): SupervisorStatus;

    on<E extends keyof SupervisorEventMap>(
      event: E,
      listener: (...args: SupervisorEventMap[E]) => void,
    ): this;
    on(event: string | symbol, listener: (...args: any[]) => void): this;
    once<E extends keyof SupervisorEventMap>(
      event: E,
      listener: (...args: SupervisorEventMap[E]) => void,
    ): this;
    once(event: string | symbol, listener: (...args: any[]) => void): this;
  }

  /** Where `observe` listens, and who may ask. Other options are ignored. See docs/observing.md. */
  interface ObserveOptions {
    /**
     * An IP address, or 'localhost'. One that is not the loopback's needs a `token` or `allow`.
     * @default '127.0.0.1'
     */
    host?: string | undefined;
    /** The port; 0 for any that the kernel chooses. Not needed with `path`. */
    port?: number | undefined;
    /** The path of a Unix socket, instead of a port. Only this user may connect. */
    path?: string | undefined;
    /** What each request has to name: `Authorization: Bearer TOKEN`. Visible ASCII characters. */
    token?: string | undefined;
    /** From where clients may connect: IP addresses and networks (`'10.0.0.0/8'`). @default everywhere */
    allow?: string[] | undefined;
    /**
     * When an event loop that does not turn counts as blocked, in milliseconds, 1 to 3600000.
     * @default 1000
     */
    blockedAfter?: number | undefined;
  }

  /** A socket that `adoptSocket` has adopted. */
  interface AdoptedSocket {
    /** Its IP address, its path, or its abstract name behind a NUL character. */
    address: string;
    /** null for a path. */
    port: number | null;
    /** Whether datagrams come to it, and no connections. */
    isDatagram: boolean;
  }

  /** What the old primary knows of the one that takes its place. See docs/architecture.md. */
  interface Heir {
    /**
     * Accepts nothing from now on. What no worker takes, and kept connections that rest, go along. Resolves when nothing waits here: then
     * the workers may be asked to leave.
     */
    yield(): Promise<void>;
    /** Resolves when everything that goes along has been sent. */
    sent(): Promise<void>;
    /** Nobody takes this one's place after all. Without effect after `yield`. */
    cancel(): void;
  }

  /** What the new primary knows of the one whose place it takes. */
  interface Succession {
    /** For the other one. Whoever has sent it closes it. */
    readonly fd: number;
    /** Resolves when all sockets are here, and says which of them have servers. Rejects with ECONNRESET if the other one has gone before. */
    received(): Promise<(AdoptedSocket & { isServed: boolean })[]>;
    /** Accepts from now on. What the other one had, and no server here has, is closed. */
    begin(): void;
  }

  /** An HTTP server that shows what the cluster does. It does not keep the process alive. */
  interface Observer {
    /** As `net.Server`'s: the address and the port, or the path. */
    address(): AddressInfo | string;
    /** Ends the server. It has ended when this returns. */
    close(): void;
  }

  /** A function that is being called. */
  interface BlockFrame {
    /** Its name, or ''. */
    function: string;
    /** Its file or URL, or ''. */
    file: string;
    /** From 1 on. */
    line: number;
    /** From 1 on. */
    column: number;
  }

  /** A time for which a worker's event loop does not turn. */
  interface Block {
    /** Since when, in milliseconds since 1970. */
    since: number;
    /** For how long it was, in milliseconds; null while it lasts. */
    duration: number | null;
    /** What JavaScript does, the innermost function first; null in native code that V8 cannot interrupt. */
    stack: BlockFrame[] | null;
    /** The stack is that of the moment after such a call. */
    isLate: boolean;
    /** What the main thread does, in words: 'runs JavaScript', 'runs native code', 'waits in read of /dev/random'. */
    activity: string;
  }

  /** A CPU profile, as V8 has it. As JSON in a file named *.cpuprofile Chrome's DevTools and others open it. */
  interface CpuProfile {
    nodes: {
      id: number;
      callFrame: {
        functionName: string;
        scriptId: string;
        url: string;
        lineNumber: number;
        columnNumber: number;
      };
      hitCount?: number;
      children?: number[];
    }[];
    /** In microseconds. */
    startTime: number;
    /** In microseconds. */
    endTime: number;
    samples?: number[];
    timeDeltas?: number[];
  }

  /**
   * Where a program's own metrics come from: a registry of prom-client, several, or a function that returns text in
   * Prometheus' format, or a promise of it.
   */
  type MetricsSource =
    | { getMetricsAsJSON(): unknown }
    | { getMetricsAsJSON(): unknown }[]
    | (() => string | Promise<string>);

  interface ClusterEventMap {
    /**
     * corral's own, in the primary, while somebody observes the cluster: a worker's event loop has not turned for
     * `blockedAfter`. It is a process warning if nobody listens.
     */
    blocked: [worker: Worker, block: Block];
    /** corral's own, in the primary: it turns again. */
    unblocked: [worker: Worker, block: Block];
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
     * corral's own, in the primary: a fault that concerns no single worker, or a process that could not be
     * spawned, with its worker, if nobody listens to that worker's 'error'. It is a process warning if nobody
     * listens here either. After `ERR_CORRAL_REACTOR_GONE` nothing is served any more.
     */
    error: [error: Error, worker?: Worker];
  }

  /** What is published on the channels of node:diagnostics_channel. See docs/libraries.md. */
  interface DiagnosticMessages {
    'corral.fork': { worker: Worker };
    'corral.online': { worker: Worker };
    'corral.listening': { worker: Worker; address: Address };
    'corral.connection': { worker: Worker; connection: ConnectionInfo };
    /** Others get its connections until it receives again. */
    'corral.blocked': { worker: Worker };
    /** So many connections of the server `key` were taken back. */
    'corral.recalled': { worker: Worker; key: string; count: number };
    'corral.disconnect': { worker: Worker };
    'corral.exit': { worker: Worker; code: number | null; signal: string | null };
    /** In a worker. */
    'corral.leaving': { worker: Worker } & Leaving;
  }

  /**
   * Node's cluster object has a `Worker`, but only newer versions of @types/node declare it. Declaring it in
   * the same versions keeps their Cluster and this one assignable to each other.
   */
  type AsNodeTypesHaveIt = NodeCluster extends { Worker: unknown } ? WithWorker : object;

  /** What a cluster has in every process. */
  interface Members extends EventEmitter, AsNodeTypesHaveIt {
    /**
     * In the primary: sends a message to all workers. In a worker: sends it to all others that have loaded
     * corral, without the primary. They get it as a 'message' event of their cluster, `(peer, message)`.
     * @param callback called when the message has been sent to all, or with the first error
     */
    broadcast(message: any, callback?: (error: Error | null) => void): void;

    /**
     * The channel of this name, the same object for all who ask for it in this process. Throws ERR_INVALID_ARG_TYPE and
     * ERR_INVALID_ARG_VALUE for what is no name of 1 to 256 characters, and ERR_CORRAL_TOO_MANY_CHANNELS at 1,024.
     */
    channel<Message = any, Reply = any>(name: string): Channel<Message, Reply>;

    readonly settings: ClusterSettings;
    /** May be set until the first fork or `setupPrimary()`. */
    schedulingPolicy: number;
    readonly SCHED_NONE: number;
    readonly SCHED_RR: number;
    /** corral's own: `'reuse-port'`. */
    readonly SCHED_REUSEPORT: number;
    /** corral's own, in the primary: the policy `'least'`. */
    readonly SCHED_LEAST: number;
    /** The policy 'sticky', by address. */
    readonly SCHED_STICKY: number;

    /** @param env additions to the primary's environment */
    fork(env?: any): Worker;
    setupPrimary(settings?: ClusterSettings): void;
    /** @deprecated Use `setupPrimary`. */
    setupMaster(settings?: ClusterSettings): void;
    /** @param callback called when all workers have disconnected; Node calls it at the first one */
    disconnect(callback?: () => void): void;
    /** @param options for every worker */
    disconnect(options: DisconnectOptions, callback?: () => void): void;

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

  /** A primary. */
  interface Primary extends Members {
    readonly isPrimary: true;
    /** @deprecated Use `isPrimary`. */
    readonly isMaster: true;
    readonly isWorker: false;
    readonly worker: never;
    /** The workers that are alive or not yet disconnected, by their ids. */
    readonly workers: NodeJS.Dict<Worker>;
    readonly workerById: never;
    readonly respond: never;
    readonly bindSession: never;
    readonly publishMetrics: never;
    /**
     * Forks workers, and keeps them: those that are lost are started anew, `reload` replaces all without losing a request. Throws
     * ERR_CORRAL_SUPERVISED while there is a supervisor, and ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE or ERR_OUT_OF_RANGE for an
     * option.
     */
    supervise(options?: SuperviseOptions): Supervisor;
  }

  /** A primary with corral's core. */
  interface NativePrimary extends Primary {
    readonly native: true;
    /** The counters so far. The call is cheap and disturbs no connection. */
    stats(): Stats;
    /**
     * Serves metrics, health and statistics over HTTP, from a thread of its own that needs no JavaScript. Throws the
     * errors of listening (EADDRINUSE, EACCES), ERR_CORRAL_UNGUARDED for an address beyond the loopback without `token`
     * and `allow`, ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE, ERR_MISSING_ARGS, ERR_OUT_OF_RANGE and
     * ERR_SOCKET_BAD_PORT for what is wrong with an option, and ERR_CORRAL_NO_NATIVE without the binary that it needs.
     */
    observe(options: ObserveOptions): Observer;
    /**
     * Takes a share in a socket that this process has inherited: one that listens, or one for datagrams. Servers of workers that are opened at
     * its address from now on get it, and nothing is bound. It stays open while no server has it, so that what comes waits. The number stays the
     * program's. Throws EINVAL for any other descriptor, EEXIST for a socket of corral's own, ERR_INVALID_ARG_TYPE and ERR_OUT_OF_RANGE.
     */
    adoptSocket(fd: number): AdoptedSocket;
    /**
     * Takes a CPU profile of a worker, for so many seconds. The worker has to load corral. Rejects with ERR_INVALID_ARG_TYPE,
     * ERR_OUT_OF_RANGE (`seconds` has to be above 0 and at most 300), ERR_CORRAL_NO_NATIVE, and ERR_CORRAL_NO_PROFILE for a worker
     * that has no lane, goes, or does not come to it.
     * @param options `seconds` is 5 by default
     */
    profile(worker: Worker, options?: { seconds?: number | undefined }): Promise<CpuProfile>;
    /**
     * Another primary takes this one's place, in a process of its own: hands over all listening sockets to it. Both may accept until `yield`.
     * @param fd of its `succeed`, which has come over a channel of `corral/net`; the core's from now on
     */
    handOver(fd: number): Heir;
    /**
     * Takes the place of another primary, which is to get `fd` for its `handOver`. Before the first fork. Servers get its sockets, and nothing is
     * accepted from the arrival of these on before `begin`. Throws EPROTONOSUPPORT where the system cannot do that (macOS).
     */
    succeed(): Succession;
    /**
     * Makes a policy by which connections go to the workers that the program has assigned to their clients.
     * `fallback` decides about those of others. @default 'one-queue'
     */
    policyTable(options?: { fallback?: FallbackPolicy | undefined }): PolicyTable;
  }

  /**
   * A primary on Node's own cluster: there is no binary, the runtime cannot run it (Bun, Deno), or Node's own had
   * forked before corral was loaded.
   * There was one warning, `CORRAL_NO_NATIVE` or `CORRAL_TOO_LATE`. Requests and `broadcast` work over Node's
   * own channel.
   */
  interface FallbackPrimary extends Primary {
    readonly native: false;
    /** Throws ERR_CORRAL_NO_NATIVE with the reason. */
    stats(): never;
    /** The same. */
    observe(options: ObserveOptions): never;
    /** The same. */
    adoptSocket(fd: number): never;
    /** The same. */
    profile(worker: Worker, options?: { seconds?: number | undefined }): never;
    /** The same. */
    handOver(fd: number): never;
    /** The same. */
    succeed(): never;
    /** The same. */
    policyTable(): never;
  }

  /** A worker, which is Node's own under every primary. */
  interface AnyWorker extends Members {
    readonly isPrimary: false;
    /** @deprecated Use `isPrimary`. */
    readonly isMaster: false;
    readonly isWorker: true;
    /** This worker. */
    readonly worker: Worker;
    readonly workers: never;
    readonly stats: never;
    readonly observe: never;
    readonly adoptSocket: never;
    readonly profile: never;
    /**
     * Has the primary that observes the cluster take over this program's own metrics, every so many milliseconds, merged with those
     * of other workers by prom-client's rules. Costs nothing while nobody observes. Throws ERR_INVALID_ARG_TYPE, and
     * ERR_OUT_OF_RANGE for an interval that is not 100 to 3600000. A source that throws or rejects is a warning,
     * `CORRAL_METRICS_SOURCE`, once.
     * @param options `interval` is 5000 by default
     * @returns what ends it
     */
    publishMetrics(source: MetricsSource, options?: { interval?: number | undefined }): () => void;
    readonly handOver: never;
    readonly succeed: never;
    readonly policyTable: never;
    readonly supervise: never;
    /** Another worker, for messages without the primary. */
    workerById(id: number): Peer;
    /** Answers the requests of other workers. */
    respond(responder: Responder<Peer> | undefined): void;

    /**
     * With the policy 'sticky': the clients that name this session belong to this worker. To be called before a
     * client learns the id. It need not be called for cookies and headers that a response sets, nor for
     * socket.io, whose sessions are known by themselves.
     * @param id of 1 to 256 bytes
     * @returns whether the primary is told; false also where no server's clients are known by sessions
     */
    bindSession(id: string): boolean;
  }

  /** A worker whose primary has corral's core. */
  interface NativeWorker extends AnyWorker {
    readonly native: true;
  }

  /**
   * A worker whose primary is on Node's own cluster. Messages between workers get ERR_CORRAL_NO_NATIVE;
   * requests to the primary work if it has loaded corral.
   */
  interface FallbackWorker extends AnyWorker {
    readonly native: false;
  }

  /**
   * `native` and `isPrimary` tell them apart. What only a primary or only a worker has is undefined in the other;
   * where neither has been asked, in callbacks above all, the types take it to be there.
   */
  type Cluster = NativePrimary | FallbackPrimary | NativeWorker | FallbackWorker;

  type Listener<E extends keyof ClusterEventMap> = (...args: ClusterEventMap[E]) => void;
}

export = cluster;
