/// <reference types="node" />

import type { Socket as DatagramSocket, RemoteInfo } from 'node:dgram';
import type { LookupFunction, Server as NetServer, Socket as NetSocket } from 'node:net';
import type { ConnectionOptions, TlsOptions } from 'node:tls';

/**
 * The API of the npm package `node-ipc`, version 9, and its wire format. docs/node-ipc.md says what differs.
 */
declare const ipc: ipc.Module;

declare namespace ipc {
  interface Module extends IPC {
    /** For more than one instance in a process: `new ipc.IPC()`. */
    readonly IPC: new () => IPC;
  }

  /** An instance: a config, at most one server, and connections to any number of others. */
  interface IPC {
    config: Config;
    /** The connections by their ids. */
    of: Record<string, Client>;
    /** The last server of `serve` or `serveNet`; `false` before that. */
    server: Server;

    /** Passes its arguments to `config.logger` as one string, unless `config.silent`. */
    log(...parts: unknown[]): void;

    /**
     * Makes a server on a Unix socket; `server.start()` starts it.
     * @param path default: `config.socketRoot + config.appspace + config.id`
     * @param callback called when the server listens
     */
    serve(path?: string, callback?: StartCallback): void;
    serve(callback: StartCallback): void;

    /**
     * Makes a server on TCP, on TLS (`config.tls`) or on UDP; `server.start()` starts it. Each argument may
     * be left out.
     * @param host default: `config.networkHost`
     * @param port default: `config.networkPort`; 0 for any free port, which `server.port` has when the server
     *   listens
     * @param callback called when the server listens
     */
    serveNet(host?: string, port?: number | string, UDPType?: UDPType, callback?: StartCallback): void;
    serveNet(host: string, port: number | string, callback?: StartCallback): void;
    serveNet(host: string, callback: StartCallback): void;
    serveNet(port: number, UDPType: UDPType, callback?: StartCallback): void;
    serveNet(port: number, callback?: StartCallback): void;
    serveNet(UDPType: UDPType, callback?: StartCallback): void;
    serveNet(callback: StartCallback): void;

    /**
     * Connects to a Unix socket, and reconnects whenever the connection is lost. If the id is already
     * connected, it only calls the callback.
     * @param path default: `config.socketRoot + config.appspace + id`
     * @param callback called at once, when `of[id]` is there and before it is connected
     */
    connectTo(id: string, path?: string, callback?: ConnectCallback): void;
    connectTo(id: string, callback: ConnectCallback): void;

    /**
     * The same on TCP, or on TLS (`config.tls`).
     * @param host default: `config.networkHost`
     * @param port default: `config.networkPort`
     */
    connectToNet(id: string, host?: string, port?: number | string, callback?: ConnectCallback): void;
    connectToNet(id: string, host: string, callback: ConnectCallback): void;
    connectToNet(id: string, port: number, callback?: ConnectCallback): void;
    connectToNet(id: string, callback: ConnectCallback): void;

    /** Ends a connection for good and removes it from `of`. */
    disconnect(id: string): void;
  }

  type UDPType = 'udp4' | 'udp6' | 'UDP4' | 'UDP6';
  /** @param address the address of a UDP socket, undefined otherwise */
  type StartCallback = (address?: Peer) => void;
  /** @param ipc undefined if the connection already existed */
  type ConnectCallback = (ipc?: IPC) => void;

  interface Config {
    /** @default 'app.' */
    appspace: string;
    /** @default '/tmp/' */
    socketRoot: string;
    /** The last part of a server's path. Default: the name of the host. */
    id: string;

    /**
     * The encoding of strings with `rawBuffer`. Messages are always UTF-8.
     * @default 'utf8'
     */
    encoding: BufferEncoding;
    /**
     * Sends and receives bytes instead of messages.
     * @default false
     */
    rawBuffer: boolean;
    /**
     * Clients send a message when the one before it has been answered.
     * @default false
     */
    sync: boolean;
    /**
     * Whether a server replaces a stale socket. A socket on which a server listens, and a file of another
     * kind, are never removed.
     * @default true
     */
    unlink: boolean;
    /**
     * The end of a message.
     * @default '\f'
     */
    delimiter: string;
    /**
     * corral's own: the largest message that is received, in bytes. A larger one ends its connection with an
     * 'error' event with the code `ERR_CORRAL_MESSAGE_TOO_LARGE`.
     * @default 67108864 (64 MiB)
     */
    maxMessageSize?: number;

    /** @default false */
    silent: boolean;
    /** @default 5 */
    logDepth: number;
    /** @default true */
    logInColor: boolean;
    /** Default: console.log */
    logger: (text: string) => void;

    /**
     * The maximum number of simultaneous connections of a server.
     * @default 100
     */
    maxConnections: number;
    /**
     * How long a client waits before it reconnects, in milliseconds.
     * @default 500
     */
    retry: number;
    /**
     * How often a client reconnects before it gives up; `false` for never.
     * @default Infinity
     */
    maxRetries: number | boolean;
    /**
     * Whether clients that lose their connection give up.
     * @default false
     */
    stopRetrying: boolean | number;

    /** @default false */
    tls: TLSConfig | boolean;
    /** @default '127.0.0.1' */
    networkHost: string;
    /** @default 8000 */
    networkPort: number | string;

    /**
     * Lets all users read from the socket.
     * @default false
     */
    readableAll: boolean;
    /**
     * Lets all users write to the socket, which is necessary for connecting.
     * @default false
     */
    writableAll: boolean;

    /** The local address of `connectToNet`. */
    interface: Interfaces;
    /** Its name in node-ipc's README. */
    interfaces?: Interfaces;
  }

  /** As in `net.connect`. */
  interface Interfaces {
    localAddress?: string | false;
    localPort?: number | false;
    family?: number | false;
    hints?: number | false;
    lookup?: LookupFunction | false;
  }

  /** Options of `tls.createServer` and `tls.connect`, and the names of files. */
  interface TLSConfig extends Omit<TlsOptions & ConnectionOptions, 'dhparam'> {
    /** The file with the private key. A server needs one. */
    private?: string;
    /** The file with the certificate. */
    public?: string;
    /** The file with the parameters of Diffie-Hellman. */
    dhparam?: string;
    /** The files with the trusted certificates. */
    trustedConnections?: string | string[];
  }

  /** Data to send with `rawBuffer`. */
  type Bytes = string | Uint8Array | readonly number[];

  /** Not an EventEmitter: `emit` sends, and `publish` calls the handlers. */
  interface Events {
    publish(type: string, ...args: any[]): this;
    trigger(type: string, ...args: any[]): this;
    /** @param handler '*' for all handlers of this type */
    off(type: string, handler: ((...args: any[]) => void) | '*'): this;
    unSubscribe(type: string, handler: ((...args: any[]) => void) | '*'): this;
  }

  interface Client extends Events {
    readonly id: string;
    /** The path of the server, or its host. */
    path: string;
    port?: number | undefined;
    config: Config;
    socket: NetSocket | false;
    retriesRemaining: number;
    explicitlyDisconnected: boolean;
    /** Messages that wait for an answer to the one before them (`config.sync`). */
    queue: { readonly contents: (() => void)[]; clear(): void; next(): void };

    connect(): void;
    log(...parts: unknown[]): void;
    /** Sends a message. */
    emit(type: string, data?: any): void;
    /** Sends bytes (`config.rawBuffer`). */
    emit(bytes: Bytes): void;

    on: ClientOn<this>;
    once: ClientOn<this>;
    subscribe: ClientOn<this>;
  }

  /**
   * 'error' has an Error with a `code`: `ERR_CORRAL_BAD_MESSAGE` for malformed messages (`response`: the
   * message; `count`: their number), `ERR_CORRAL_MESSAGE_TOO_LARGE` for a message beyond `maxMessageSize`,
   * `ERR_STREAM_DESTROYED` for a message that was lost without a connection, and Node's own codes.
   * docs/errors.md has all codes.
   */
  interface ClientOn<This> {
    (type: 'connect' | 'disconnect' | 'destroy', handler: () => void): This;
    (type: 'error', handler: (error: any) => void): This;
    (type: 'data', handler: (bytes: Buffer) => void): This;
    (type: '*', handler: (type: string, ...args: any[]) => void): This;
    (type: string, handler: (data: any) => void): This;
  }

  /** A connection of a server. */
  interface ServerSocket extends NetSocket {
    /** The `id` in the data of the last message that has one. */
    id?: any;
  }

  /** The sender or the receiver of a datagram. */
  interface Peer {
    address: string;
    port: number;
    id?: any;
  }

  interface Server extends Events {
    /** The path or the host on which it listens. */
    path: string;
    /** The port, which replaces 0 once the server listens; undefined for a Unix socket. */
    port?: number | undefined;
    config: Config;
    /** Node's own server; `false` before `start`. */
    server: NetServer | DatagramSocket | false;
    /** The connections. With UDP: the socket itself, followed by the program's addresses for broadcasts. */
    sockets: any[];
    readonly udp4: boolean;
    readonly udp6: boolean;

    start(): void;
    /** Accepts no new connections. Existing ones stay. */
    stop(): void;
    log(...parts: unknown[]): void;
    /** Sends a message on one connection. */
    emit(to: ServerSocket | Peer, type: string, data?: any): void;
    /** Sends bytes on one connection (`config.rawBuffer`). */
    emit(to: ServerSocket | Peer, bytes: Bytes): void;
    /** Sends a message on all connections. */
    broadcast(type: string, data?: any): void;
    /** Sends bytes on all connections (`config.rawBuffer`). */
    broadcast(bytes: Bytes): void;

    on: ServerOn<this>;
    once: ServerOn<this>;
    subscribe: ServerOn<this>;
  }

  /**
   * 'error' is as for a client, with the socket as its second argument. With UDP there is also
   * `ERR_CORRAL_QUEUE_FULL`, when datagrams arrive faster than they are taken (`count`: how many are lost).
   */
  interface ServerOn<This> {
    (type: 'start', handler: StartCallback): This;
    (type: 'connect', handler: (socket: ServerSocket) => void): This;
    (type: 'error', handler: (error: any, socket?: any) => void): This;
    (type: 'socket.disconnected', handler: (socket: ServerSocket, id: any) => void): This;
    /** @param handler its second argument is a `ServerSocket`, or with UDP a `RemoteInfo` */
    (type: 'data', handler: (bytes: Buffer, socket: any) => void): This;
    (type: '*', handler: (type: string, ...args: any[]) => void): This;
    (type: string, handler: (data: any, socket: any) => void): This;
  }

  /** The `socket` that the handlers of a UDP socket get. */
  type Sender = RemoteInfo & { id?: any };
}

export = ipc;
