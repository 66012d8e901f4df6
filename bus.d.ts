// `corral/bus`: topics and work queues. docs/bus.md says what is guaranteed.

import { EventEmitter } from 'node:events';

/** What is given to every call that waits. */
export interface WaitOptions {
  /** Ends the wait: the promise is rejected with an `AbortError`. What was sent may still be carried out. */
  signal?: AbortSignal | undefined;
  /**
   * How long the engine may take to answer, in milliseconds; 0 for as long as it takes. It is rejected with
   * `ERR_CORRAL_BUS_TIMEOUT`. Default: `timeout` of `connect`.
   */
  timeout?: number | undefined;
}

/** What is kept here while the engine is away. */
export interface OfflineOptions {
  /** How many calls may wait for the engine before more are rejected with `ERR_CORRAL_BUS_OFFLINE`. Default: 10,000. */
  messages?: number | undefined;
  /** How many bytes they may have. Default: 64 MiB. */
  bytes?: number | undefined;
}

export interface ConnectOptions {
  /** How messages are written. `'json'` is read by everybody, `'advanced'` is V8's format. Default: `'json'`. */
  serialization?: 'json' | 'advanced' | undefined;
  /**
   * What has happened to a message when `send` resolves. `'disk'`: it is on the disk and survives a loss of power.
   * `'process'`: the system has it, and it survives the end of every process. Only for `file:`: a Redis keeps as
   * it is set up. Default: `'disk'`.
   */
  durability?: 'disk' | 'process' | undefined;
  /** The largest message, in bytes as it is written, its headers included. Default: 1 MiB; at most 64 MiB. */
  maxMessageSize?: number | undefined;
  /** How long `connect` may take, in milliseconds. Default: 10,000. */
  connectTimeout?: number | undefined;
  /** The default of `timeout` of each call, in milliseconds; 0 for as long as it takes. Default: 30,000. */
  timeout?: number | undefined;
  offline?: OfflineOptions | undefined;
  /** Ends the attempt to connect. */
  signal?: AbortSignal | undefined;
}

export interface BusEvents {
  /** The engine can be reached again. */
  up: [];
  /** The engine is away. The bus connects again by itself; what waits for an answer is sent again. */
  down: [error: Error];
  /** A message on a topic that cannot be read: it is no JSON. */
  unreadable: [error: Error, topic: string, raw: Buffer];
  close: [];
}

/** A connection to the engine. It keeps the process alive while something waits for the engine, or a subscription is open. */
export declare class Bus extends EventEmitter<BusEvents> {
  private constructor();

  /** The name of the engine: `'memory'`, `'file'`, `'redis'`. */
  readonly engine: string;
  readonly state: 'up' | 'down' | 'closed';

  /**
   * Gives a message to all who have subscribed to its topic at this moment.
   *
   * @returns how many subscriptions that were
   */
  publish(topic: string, message: unknown, options?: WaitOptions): Promise<number>;

  /**
   * Subscribes to topics by a name or a pattern: `*` stands for any characters, `?` for one, `[ab]` and `[a-z]` for one
   * of these; a backslash takes their meaning away. Resolves when messages come from then on.
   *
   * @param listener gets each message. Without one, the subscription is an async iterable of them.
   */
  subscribe<T = any>(
    pattern: string,
    listener: (message: T, topic: string) => void,
    options?: SubscribeOptions,
  ): Promise<Subscription<T>>;
  subscribe<T = any>(pattern: string, options?: SubscribeOptions): Promise<Subscription<T>>;

  /**
   * The queue of a name; it exists as soon as it is used. Options are the queue's own: they are kept with it, and
   * those that were given last count for all.
   */
  queue<T = any>(name: string, options?: QueueOptions): Queue<T>;

  /** A plain list, for programs that know nothing else. */
  list<T = any>(name: string): List<T>;

  /** The queues that the engine has. */
  queues(options?: WaitOptions): Promise<string[]>;

  /**
   * Carries out all that `fn` does with `tx`, in its order, or nothing of it. If a message that is acknowledged there
   * is not held any more, the transaction is rejected with `ERR_CORRAL_BUS_NOT_HELD`.
   */
  transaction<R>(fn: (tx: Transaction) => R | Promise<R>, options?: WaitOptions): Promise<R>;

  /**
   * Ends the connection. What was called before is still carried out and answered, up to `timeout`, also if the engine is
   * away and comes back; messages that are held go back to their queues.
   */
  close(options?: { timeout?: number | undefined }): Promise<void>;
}

export interface SubscribeOptions extends WaitOptions {
  /** How many messages may wait for this subscriber. Default: 1,000. */
  buffer?: number | undefined;
  /**
   * What happens when one more comes: `'drop-oldest'` drops the oldest and counts it in `dropped`, `'end'` ends the
   * subscription with `ERR_CORRAL_BUS_SLOW`. Default: `'drop-oldest'`.
   */
  overflow?: 'drop-oldest' | 'end' | undefined;
}

export interface TopicMessage<T = any> {
  topic: string;
  message: T;
}

/** `for await` throws what ended it, if that was an error. */
export interface Subscription<T = any> extends AsyncIterable<TopicMessage<T>> {
  readonly pattern: string;
  /** How many messages were dropped because this subscriber was slow. */
  readonly dropped: number;
  /** Resolves when it has ended: with the error if that ended it. It never rejects. */
  readonly ended: Promise<Error | undefined>;
  close(): Promise<void>;
}

export interface RetryOptions {
  /** The delay after the first failure, in milliseconds. Default: 1,000. */
  delay?: number | undefined;
  /** By how much it grows with each further one. Default: 2. */
  factor?: number | undefined;
  /** The longest delay, in milliseconds. Default: 60,000. */
  maxDelay?: number | undefined;
  /** The random part of each delay, from 0 to 1. Default: 0.5. */
  jitter?: number | undefined;
}

export interface QueueOptions {
  /** How long a message is held by who has received it, in milliseconds. Default: 30,000. */
  visibility?: number | undefined;
  /** How often a message is delivered before it goes to `deadLetter`; 0 for without end. Default: 0. */
  maxDeliveries?: number | undefined;
  /** The queue for what was delivered `maxDeliveries` times. Default: the queue's name and `.dead`. */
  deadLetter?: string | undefined;
  /** When `process` tries a message again whose function has failed. Of this object alone, and not of the queue. */
  retry?: RetryOptions | undefined;
}

export interface MessageOptions {
  /** How long nobody receives it, in milliseconds. Default: 0. */
  delay?: number | undefined;
  /** From 0 to 255: a message with a larger one is received before all with a smaller one. Default: 0. */
  priority?: number | undefined;
  /**
   * The id of the message, of 1 to 255 bytes. Another message with the same id is not kept within `deduplicate`
   * milliseconds of the first. Default: an id that nobody else has.
   */
  id?: string | undefined;
  /** How long the id is remembered, in milliseconds. Default: 300,000. */
  deduplicate?: number | undefined;
  headers?: Record<string, string> | undefined;
  /** After so many milliseconds nobody receives it any more. Default: never. */
  expires?: number | undefined;
  /** Messages of one group, of 1 to 255 bytes, are delivered one after the other, in their order. */
  group?: string | undefined;
}

export interface SendOptions extends MessageOptions, WaitOptions {}

export interface Sent {
  id: string;
  /** Whether a message with this id was there already, and this one was not kept. */
  duplicate: boolean;
}

/** Why a message is in a dead-letter queue. */
export interface DeadLetter {
  /** The queue that it was in. */
  queue: string;
  deliveries: number;
  /** `'failed'`: given back by its consumer; `'expired'`: held for too long; `'lost'`: its consumer ended. */
  reason: 'failed' | 'expired' | 'lost';
  /** What was said of the failure. */
  error: string;
}

/** A message as it waits in a queue. */
export interface QueuedMessage<T = any> {
  readonly id: string;
  /** Reading it throws `ERR_CORRAL_BUS_UNREADABLE` if it cannot be read: it is no JSON. */
  readonly message: T;
  /** The message as it was written. */
  readonly raw: Buffer;
  readonly headers: Record<string, string>;
  readonly priority: number;
  readonly group: string | undefined;
  /** How often it has been delivered, this time included. */
  readonly deliveries: number;
  readonly sentAt: Date;
  readonly dead: DeadLetter | undefined;
}

/** A message that this process holds: nobody else gets it until it is given back, or held for too long. */
export interface Job<T = any> extends QueuedMessage<T> {
  readonly queue: string;
  ack(options?: WaitOptions): Promise<void>;
  nack(options?: NackOptions): Promise<void>;
  extend(visibility?: number, options?: WaitOptions): Promise<void>;
}

export interface ReceiveOptions extends WaitOptions {
  /** How long to wait for a message, in milliseconds; `Infinity` for as long as it takes. Default: 0. */
  wait?: number | undefined;
  /** How many messages at most. Default: 1. */
  count?: number | undefined;
  /** Default: the queue's. */
  visibility?: number | undefined;
}

export interface NackOptions extends WaitOptions {
  /** How long nobody receives it, in milliseconds. Default: 0. */
  delay?: number | undefined;
  /** What went wrong: for the dead-letter queue. */
  error?: Error | string | undefined;
}

export interface ProcessOptions {
  /** How many messages are worked on at a time. Default: 1. */
  concurrency?: number | undefined;
  /** Ends `process`: no further message is taken, and those that are worked on are finished. */
  signal?: AbortSignal | undefined;
  /** Default: the queue's. It is extended while the function runs. */
  visibility?: number | undefined;
  /** Is told of each failure: what the function has thrown, or that a message could not be acknowledged. */
  onError?: ((error: Error, job: Job) => void) | undefined;
}

export interface QueueStats {
  /** That can be received now. */
  waiting: number;
  delayed: number;
  /** That somebody holds. */
  held: number;
  /** How many calls of `receive` wait. */
  receivers: number;
}

export interface Queue<T = any> {
  readonly name: string;
  /** Resolves when the message is kept. If it is rejected with a time-out, the message may be kept all the same. */
  send(message: T, options?: SendOptions): Promise<Sent>;
  /** The messages that are there, up to `count`: none if none has come by the end of `wait`. */
  receive(options?: ReceiveOptions): Promise<Job<T>[]>;
  /** The work is done, and the message is gone. Rejected with `ERR_CORRAL_BUS_NOT_HELD` if it is not held any more. */
  ack(job: Job<T> | readonly Job<T>[], options?: WaitOptions): Promise<void>;
  /** Gives the message back. */
  nack(job: Job<T>, options?: NackOptions): Promise<void>;
  /** Holds the message for `visibility` milliseconds from now on. Default: the queue's. */
  extend(job: Job<T>, visibility?: number, options?: WaitOptions): Promise<void>;
  /**
   * Calls `fn` with each message, and acknowledges it when that has resolved; when it has failed, the message is tried
   * again later (`retry`). What `fn` has acknowledged or given back itself, as in a transaction, is left alone. Resolves when `signal` has ended it; rejects when the bus is closed meanwhile.
   */
  process(
    fn: (job: Job<T>, context: { signal: AbortSignal }) => unknown,
    options?: ProcessOptions,
  ): Promise<void>;
  /** The messages that would be received next, without receiving them. Default of `count`: 10. */
  peek(options?: WaitOptions & { count?: number | undefined }): Promise<QueuedMessage<T>[]>;
  stats(options?: WaitOptions): Promise<QueueStats>;
  /** Removes all that nobody holds. @returns how many that were */
  purge(options?: WaitOptions): Promise<number>;
  /** Resolves when nothing is there any more that waits, is delayed or is held. Without a time-out by default. */
  drain(options?: WaitOptions): Promise<void>;
  /** Removes the queue with all that is in it, its options too. */
  delete(options?: WaitOptions): Promise<void>;
}

export interface List<T = any> {
  readonly name: string;
  /** Adds a value to the end. */
  push(value: T, options?: WaitOptions): Promise<void>;
  /** Takes the first value: undefined if there is none by the end of `wait`. */
  pop(options?: WaitOptions & { wait?: number | undefined }): Promise<T | undefined>;
  length(options?: WaitOptions): Promise<number>;
}

/** What belongs together. Nothing happens before the function that has it has resolved, and nothing can be added afterwards. */
export interface Transaction {
  queue<T = any>(name: string): { send(message: T, options?: MessageOptions): string };
  list<T = any>(name: string): { push(value: T): void };
  publish(topic: string, message: unknown): void;
  ack(job: Job): void;
  nack(job: Job, options?: Omit<NackOptions, keyof WaitOptions>): void;
}

/**
 * Every call gives a promise. The error that rejects one has a `code`: `ABORT_ERR` and Node's own for bad arguments, and
 * `ERR_INVALID_STATE` for a transaction that is over;
 * `ERR_CORRAL_BUS_CLOSED`, `ERR_CORRAL_BUS_CROSS_SLOT`, `ERR_CORRAL_BUS_DENIED`, `ERR_CORRAL_BUS_FORMAT`,
 * `ERR_CORRAL_BUS_NOT_HELD`, `ERR_CORRAL_BUS_OFFLINE`,
 * `ERR_CORRAL_BUS_PROTOCOL`, `ERR_CORRAL_BUS_SLOW`, `ERR_CORRAL_BUS_STORE`, `ERR_CORRAL_BUS_TIMEOUT`,
 * `ERR_CORRAL_BUS_TOO_LARGE`, `ERR_CORRAL_BUS_UNAVAILABLE`, `ERR_CORRAL_BUS_UNREADABLE`, `ERR_CORRAL_BUS_WRONG_TYPE`; and `ERR_CORRAL_NO_NATIVE` from
 * `connect` where the addon cannot run. docs/errors.md says what each means.
 *
 * Connects to an engine: in memory, in this process or cluster, without a URL; `file:<path>` for one that is kept in a
 * file, for all processes of this user on the machine. Resolves when the engine answers.
 */
export declare function connect(url?: string | URL, options?: ConnectOptions): Promise<Bus>;
