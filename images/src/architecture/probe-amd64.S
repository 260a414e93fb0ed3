# The amd64 guest of the probe: the last 256 bytes of its firmware. It enters 64-bit mode as a kernel does and
# calculates there with SSE2. A host that interprets guests instead of running them may know the instructions of real
# mode and not these. probe-amd64.bin is made of it by
#   as --64 probe-amd64.S -o probe.o && objcopy -O binary -j .text probe.o probe-amd64.bin
.set copy, 0x8000
.text
.code16
start:
  cli
  lgdtl %cs:(gdt_above - start + 0xff00)
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $0x08, $(0xffffff00 + (protected - start))
.code32
protected:
  mov $0x10, %ax
  mov %ax, %ds
  mov %ax, %es
  # Its pages will be those of low memory, so it goes on in a copy there.
  mov $0xffffff00, %esi
  mov $copy, %edi
  mov $0x40, %ecx
  cld
  rep movsl
  mov $(copy + (copied - start)), %eax
  jmp *%eax
copied:
  lgdtl copy + (gdt_below - start)
  # One page of 2 MiB at address 0. QEMU's memory begins as zeroes.
  movl $0x2003, 0x1000
  movl $0x3003, 0x2000
  movl $0x83, 0x3000
  mov $0x1000, %eax
  mov %eax, %cr3
  mov $0x620, %eax              # PAE, OSFXSR, OSXMMEXCPT
  mov %eax, %cr4
  mov $0xc0000080, %ecx         # EFER
  mov $0x100, %eax              # LME
  xor %edx, %edx
  wrmsr
  mov $0x80000033, %eax         # PG, NE, ET, MP, PE
  mov %eax, %cr0
  ljmp $0x18, $(copy + (long - start))
.code64
long:
  mov $0x18, %eax
  movd %eax, %xmm0
  paddd %xmm0, %xmm0
  movd %xmm0, %eax
  inc %eax                      # VALUE of amd64.rs
  mov $0x501, %dx
  out %al, %dx
  hlt
.balign 8, 0xf4
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff
  .quad 0x00cf93000000ffff
  .quad 0x00af9b000000ffff
gdt_above:
  .word 31
  .long 0xffffff00 + (gdt - start)
gdt_below:
  .word 31
  .long copy + (gdt - start)
  # An x86 begins here, 16 bytes below the end: a jump to 0xff00.
  .org 0xf0, 0xf4
  .byte 0xe9
  .word (0xff00 - 0xfff3)
  .org 0x100, 0xf4
