// `corral/rsmq`: rsmq's API. docs/bus.md says where it differs.

import { EventEmitter } from 'node:events';

/** Queues that a real rsmq shares, in Redis, or in a file. */
declare class RedisSMQ extends EventEmitter<RedisSMQ.Events> {
  constructor(options?: RedisSMQ.ConstructorOptions);

  /** Whether the server, or the file, can be reached. */
  readonly connected: boolean;
  readonly realtime: boolean;

  createQueue(options: RedisSMQ.CreateQueueOptions, cb: RedisSMQ.Callback<1>): void;
  createQueueAsync(options: RedisSMQ.CreateQueueOptions): Promise<1>;
  listQueues(cb: RedisSMQ.Callback<string[]>): void;
  listQueuesAsync(): Promise<string[]>;
  deleteQueue(options: RedisSMQ.QueueOptions, cb: RedisSMQ.Callback<1>): void;
  deleteQueueAsync(options: RedisSMQ.QueueOptions): Promise<1>;
  getQueueAttributes(options: RedisSMQ.QueueOptions, cb: RedisSMQ.Callback<RedisSMQ.QueueAttributes>): void;
  getQueueAttributesAsync(options: RedisSMQ.QueueOptions): Promise<RedisSMQ.QueueAttributes>;
  setQueueAttributes(
    options: RedisSMQ.CreateQueueOptions,
    cb: RedisSMQ.Callback<RedisSMQ.QueueAttributes>,
  ): void;
  setQueueAttributesAsync(options: RedisSMQ.CreateQueueOptions): Promise<RedisSMQ.QueueAttributes>;
  /** Gives the message's id. */
  sendMessage(options: RedisSMQ.SendMessageOptions, cb: RedisSMQ.Callback<string>): void;
  sendMessageAsync(options: RedisSMQ.SendMessageOptions): Promise<string>;
  /** Gives an empty object if there is none. */
  receiveMessage(
    options: RedisSMQ.ReceiveMessageOptions,
    cb: RedisSMQ.Callback<RedisSMQ.QueueMessage | RedisSMQ.NoMessage>,
  ): void;
  receiveMessageAsync(
    options: RedisSMQ.ReceiveMessageOptions,
  ): Promise<RedisSMQ.QueueMessage | RedisSMQ.NoMessage>;
  popMessage(
    options: RedisSMQ.QueueOptions,
    cb: RedisSMQ.Callback<RedisSMQ.QueueMessage | RedisSMQ.NoMessage>,
  ): void;
  popMessageAsync(options: RedisSMQ.QueueOptions): Promise<RedisSMQ.QueueMessage | RedisSMQ.NoMessage>;
  /** Gives 0 if there is no such message. */
  deleteMessage(options: RedisSMQ.MessageOptions, cb: RedisSMQ.Callback<0 | 1>): void;
  deleteMessageAsync(options: RedisSMQ.MessageOptions): Promise<0 | 1>;
  changeMessageVisibility(options: RedisSMQ.VisibilityOptions, cb: RedisSMQ.Callback<0 | 1>): void;
  changeMessageVisibilityAsync(options: RedisSMQ.VisibilityOptions): Promise<0 | 1>;
  quit(cb?: RedisSMQ.Callback<'OK'>): void;
  quitAsync(): Promise<'OK'>;
}

declare namespace RedisSMQ {
  type Callback<T> = (err: any, response: T) => void;

  interface Events {
    connect: [];
    disconnect: [];
  }

  /** How the server is reached; beside the others, or in `options`. */
  interface RedisOptions {
    /** Default: 127.0.0.1. */
    host?: string | undefined;
    /** Default: 6379. */
    port?: number | undefined;
    /** Of a Unix socket, instead of host and port. */
    path?: string | undefined;
    /** One of those that `corral/bus` knows, instead of all others. */
    url?: string | undefined;
    user?: string | undefined;
    password?: string | null | undefined;
    db?: number | undefined;
    tls?: boolean | { ca?: string | Buffer; cert?: string | Buffer; key?: string | Buffer } | undefined;
    /** A cluster: `ns` has to have braces then, as in '{rsmq}'. */
    cluster?: boolean | undefined;
  }

  interface ConstructorOptions extends RedisOptions {
    /** The file that the queues are in, instead of a server. */
    embedded?: string | undefined;
    /** What keys begin with. Default: 'rsmq'. */
    ns?: string | undefined;
    /** Publishes on `<ns>:rt:<qname>` how many messages a queue has when one is sent. Default: false. */
    realtime?: boolean | undefined;
    options?: RedisOptions | undefined;
    /** A client of redis 2 or 3: its options are used. */
    client?: object | null | undefined;
  }

  interface QueueOptions {
    /** 1 to 160 letters, digits, hyphens and underscores. */
    qname: string;
  }

  interface CreateQueueOptions extends QueueOptions {
    /** For how many seconds a message that was received is hidden from others. Default: 30. */
    vt?: number | string | undefined;
    /** For how many seconds new messages are hidden. Default: 0. */
    delay?: number | string | undefined;
    /** How long a message may be, in units of JavaScript's strings: 1,024 to 65,536, or -1. Default: 65,536. */
    maxsize?: number | string | undefined;
  }

  interface SendMessageOptions extends QueueOptions {
    message: string;
    delay?: number | string | undefined;
  }

  interface ReceiveMessageOptions extends QueueOptions {
    vt?: number | string | undefined;
  }

  interface MessageOptions extends QueueOptions {
    id: string;
  }

  interface VisibilityOptions extends MessageOptions {
    vt: number | string;
  }

  interface QueueMessage {
    message: string;
    id: string;
    /** When it was sent, in milliseconds, with a fraction. */
    sent: number;
    /** When it was first received, in milliseconds. */
    fr: number;
    /** How often it was received. */
    rc: number;
  }

  type NoMessage = Record<keyof QueueMessage, never> | Record<string, never>;

  interface QueueAttributes {
    vt: number;
    delay: number;
    maxsize: number;
    totalrecv: number;
    totalsent: number;
    /** In seconds. */
    created: number;
    modified: number;
    msgs: number;
    hiddenmsgs: number;
  }
}

export = RedisSMQ;
