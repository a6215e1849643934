-- SPDX-License-Identifier: GPL-2.0-or-later
--
-- The server name of a ClientHello, which may be cut into several TLS records
-- (RFC 8446, 5.1): HAProxy's req.ssl_sni reads on where the first one ends. A
-- converter of what has come so far, in hex: it is nothing as long as more of it
-- is needed, and an empty name if there is none, or this is no ClientHello.

local HANDSHAKE, CLIENT_HELLO, SERVER_NAME, HOST_NAME = 22, 1, 0, 0
local MOST = 16384

local function number(text, at, bytes)
    local value = 0
    for i = at, at + bytes - 1 do
        value = value * 256 + text:byte(i)
    end
    return value
end

-- What is in the handshake's records; nil if there is something else
local function joined(text)
    local parts, at = {}, 1
    while at <= #text do
        if text:byte(at) ~= HANDSHAKE or
           (#text > at and text:byte(at + 1) ~= 3) then
            return nil
        end
        if #text < at + 4 then
            break
        end
        local length = number(text, at + 3, 2)
        if length == 0 or length > MOST then
            return nil
        end
        parts[#parts + 1] = text:sub(at + 5, at + 4 + length)
        at = at + 5 + length
    end
    return table.concat(parts)
end

-- One who reads a text from front to back; an error at its end
local function reader(text)
    local at = 1
    local self = {}
    function self.number(bytes)
        at = at + bytes
        return assert(at <= #text + 1) and number(text, at - bytes, bytes)
    end
    function self.text(bytes)
        at = at + bytes
        return assert(at <= #text + 1) and text:sub(at - bytes, at - 1)
    end
    function self.rest()
        return #text + 1 - at
    end
    return self
end

local function server_name(hello)
    local all = reader(hello)
    all.text(2 + 32)                    -- version, random
    all.text(all.number(1))             -- session
    all.text(all.number(2))             -- cipher suites
    all.text(all.number(1))             -- compression methods
    local extensions = reader(all.text(all.number(2)))
    while extensions.rest() > 0 do
        local kind = extensions.number(2)
        local extension = extensions.text(extensions.number(2))
        if kind == SERVER_NAME then
            local list = reader(extension)
            list.number(2)
            while list.rest() > 0 do
                kind = list.number(1)
                local name = list.text(list.number(2))
                if kind == HOST_NAME then
                    return name
                end
            end
        end
    end
    return ''
end

core.register_converters('spice_name', function(hex)
    local text = hex:gsub('..', function(byte)
        return string.char(tonumber(byte, 16))
    end)
    local handshake = joined(text)
    if not handshake or
       (#handshake > 0 and handshake:byte(1) ~= CLIENT_HELLO) then
        return ''
    end
    if #handshake < 4 then
        return                          -- nil would be a name for HAProxy
    end
    local length = number(handshake, 2, 3)
    if length > MOST then
        return ''
    end
    if #handshake < 4 + length then
        return
    end
    local good, name = pcall(server_name, handshake:sub(5, 4 + length))
    return good and name or ''
end)
