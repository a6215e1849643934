/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole of a machine's software, in place of its firmware: it is there the
 * moment the machine is reset, and then does nothing (IDLE), or fills a screen
 * of 1024x768 with one colour after the other, as fast as it can.
 */
        .code16

        .macro  display index, value    /* QEMU's VGA (Bochs') */
        mov     $0x1ce, %dx
        mov     $\index, %ax
        out     %ax, %dx
        inc     %dx
        mov     \value, %ax
        out     %ax, %dx
        .endm

start:
        cli
        cld
        mov     $0x3da, %dx             /* let the VGA show something */
        in      %dx, %al
        mov     $0x3c0, %dx
        mov     $0x20, %al
        out     %al, %dx
        display 4, $0
        display 1, $1024
        display 2, $768
        display 3, $32
        display 4, $1
        mov     $0xa000, %ax
        mov     %ax, %es
#ifdef IDLE
1:      hlt
        jmp     1b
#else
        xor     %bx, %bx
frame:
        xor     %si, %si
bank:
        display 5, %si
        xor     %di, %di
        mov     %bx, %ax
        mov     $0x8000, %cx
        rep stosw
        inc     %si
        cmp     $48, %si
        jb      bank
        add     $0x0305, %bx
        jmp     frame
#endif

        .org    0xfff0                  /* where the CPU begins */
        ljmp    $0xf000, $start
        .org    0x10000
